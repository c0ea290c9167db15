-- A dissector of nlbus for Wireshark and tshark: what `nlbus record --pcapng` writes, and what a netlink monitor
-- (nlmon) captures. The layouts are those of include/uapi/linux/nlbus.h.
--
--   tshark -X lua_script:nlbus.lua -r events.pcapng -Y 'nlbus.topic == "sensors/1"'

local nlbus = Proto("nlbus", "nlbus event bus")

local TYPES = {
	[0x02] = "ERROR or ack", [0x10] = "PUBLISH", [0x11] = "EVENT", [0x12] = "INFO", [0x13] = "TOPIC", [0x14] = "REPLAY",
	[0x15] = "WILL",
}
local CONTENTS = { [0] = "opaque", [1] = "text", [2] = "bincode", [3] = "JSON" }
local BROKERS = { [0] = "module", [1] = "user" }
local OPERATIONS = { [0] = "GET", [1] = "LIST", [2] = "DELETE" }

local f = nlbus.fields
f.len = ProtoField.uint32("nlbus.len", "Length")
f.type = ProtoField.uint16("nlbus.type", "Type", base.HEX, TYPES)
f.flags = ProtoField.uint16("nlbus.flags", "Flags", base.HEX)
f.multi = ProtoField.bool("nlbus.flags.multi", "More follow in this datagram", 16, nil, 0x0002)
f.ack = ProtoField.bool("nlbus.flags.ack", "Ack wanted", 16, nil, 0x0004)
f.number = ProtoField.uint32("nlbus.number", "Message number (of a broadcast: the epoch's low half)")
f.port = ProtoField.uint32("nlbus.port", "Port id")
f.seq = ProtoField.uint64("nlbus.seq", "Sequence number")
f.time = ProtoField.uint64("nlbus.time_ns", "Time (CLOCK_BOOTTIME, ns)")
f.topic_id = ProtoField.uint32("nlbus.topic_id", "Topic id")
f.portid = ProtoField.uint32("nlbus.portid", "Sender's port id")
f.pid = ProtoField.uint32("nlbus.pid", "Sender's process")
f.uid = ProtoField.uint32("nlbus.uid", "Sender's user")
f.event_flags = ProtoField.uint16("nlbus.event.flags", "Event flags", base.HEX)
f.kernel = ProtoField.bool("nlbus.event.kernel", "Published by kernel code", 16, nil, 0x0001)
f.replayed = ProtoField.bool("nlbus.event.replayed", "Out of history", 16, nil, 0x0002)
f.will = ProtoField.bool("nlbus.event.will", "A client's last will", 16, nil, 0x0004)
f.no_wait = ProtoField.bool("nlbus.event.no_wait", "Refuse rather than wait", 16, nil, 0x0008)
f.lost = ProtoField.bool("nlbus.event.lost", "No event, but numbers that are lost", 16, nil, 0x0010)
f.lost_count = ProtoField.uint64("nlbus.lost", "Numbers lost")
f.content = ProtoField.uint16("nlbus.content", "Content", base.DEC, CONTENTS)
f.topic = ProtoField.string("nlbus.topic", "Topic", base.UNICODE)
f.payload = ProtoField.bytes("nlbus.payload", "Payload")
f.text = ProtoField.string("nlbus.text", "Payload", base.UNICODE)
f.attribute = ProtoField.bytes("nlbus.attribute", "Attribute")
f.errno = ProtoField.int32("nlbus.errno", "Error")
f.reason = ProtoField.string("nlbus.reason", "Reason", base.UNICODE)

local bad = ProtoExpert.new("nlbus.malformed", "Malformed message", expert.group.MALFORMED, expert.severity.ERROR)
nlbus.experts = { bad }

-- Attributes by message: the names in the order of their numbers, from 2 on (1 pads), each with what it is: a number of
-- its own length unless it says text, bytes, signed or another list.
local LIMITS = { "TOPICS", "PAYLOAD", "DATAGRAM", "PACK", "QUEUE", "HISTORY", "TOPIC_HISTORY", "PRIVATE_GROUPS", "TOPIC_MODE",
	"USER_TOPICS", "USER_QUEUE", "USER_HISTORY", "USER_PRIVATE_GROUPS", "WILLS", "USER_WILLS" }
local COUNTERS = { "PUBLISHED", "REFUSED", "BROADCASTS", "OVERRUNS", "REPLAYED", "EVICTED", "TOPICS", "QUEUE", "HISTORY",
	"MOVED", "PRIVATE_GROUPS", "KERNEL_DROPPED", "CLIENTS", "WILLS", "LOST" }
local ATTRIBUTES = {
	[0x12] = { "VERSION", { "BROKER", BROKERS }, "EPOCH", "PROTOCOL", "PUBLISH_PORT", "REQUEST_PORT", "GROUPS", "UPTIME_NS",
		{ "CLOCK_OFFSET_NS", "signed" }, "HEARTBEAT_MS", { "LIMITS", nest = LIMITS }, { "COUNTERS", nest = COUNTERS } },
	[0x13] = { { "OP", OPERATIONS }, "CURSOR", "SINCE", "LAST_ID", "ID", { "NAME", "text" }, "GROUP", "HEAD", "FIRST", "BYTES",
		"CHANGE", { "MODE", "octal" }, "UID", "GID", "HISTORY", "BROADCAST", "DROPPED", "REPLAYED", "MOVED", { "TYPE", "text" } },
	[0x14] = { "EPOCH", "TOPIC", "FROM", "LIMIT", "FIRST", "NEXT", "HEAD" },
	[0x15] = { { "TOPIC", "text" }, { "CONTENT", CONTENTS }, { "PAYLOAD", "bytes" } },
}

local NLMSG_HDRLEN, EVENT_HDRLEN, NLA_HDRLEN = 16, 40, 4
-- NLM_F_CAPPED and NLM_F_ACK_TLVS of an NLMSG_ERROR.
local CAPPED, ACK_TLVS = 0x100, 0x200
-- NLBUS_EVENT_F_LOST.
local LOST = 0x10

local function align(len, to)
	return math.floor((len + to - 1) / to) * to
end

-- Netlink is in its host's byte order, and all of nlbus's types are below 256.
local function reader(message)
	local little = message(4, 2):le_uint() < 256
	return {
		u16 = function(range) return little and range:le_uint() or range:uint() end,
		u32 = function(range) return little and range:le_uint() or range:uint() end,
		u64 = function(range) return little and range:le_uint64() or range:uint64() end,
		s64 = function(range) return little and range:le_int64() or range:int64() end,
		add = function(tree, field, range) return little and tree:add_le(field, range) or tree:add(field, range) end,
	}
end

local function attributes(read, range, names, tree)
	local at = 0
	while at + NLA_HDRLEN <= range:len() do
		local len, kind = read.u16(range(at, 2)), read.u16(range(at + 2, 2)) % 0x4000
		if len < NLA_HDRLEN or at + len > range:len() then
			tree:add_proto_expert_info(bad, "an attribute's length is " .. len)
			return
		end
		local name = names[kind - 1]
		local what = type(name) == "table" and name[2]
		local nested = type(name) == "table" and name.nest
		name = type(name) == "table" and name[1] or name or (kind == 1 and "padding" or "unknown attribute " .. kind)
		local item = tree:add(f.attribute, range(at, len))
		local size, shown = len - NLA_HDRLEN, ""
		if size > 0 then
			local value = range(at + NLA_HDRLEN, size)
			if nested then
				attributes(read, value, nested, item)
			elseif what == "text" then
				shown = value:string(ENC_UTF_8)
			elseif what == "signed" and size == 8 then
				shown = tostring(read.s64(value))
			elseif what == "bytes" then
				shown = tostring(value:bytes())
			elseif size == 8 then
				shown = tostring(read.u64(value))
			elseif size == 4 then
				local number = read.u32(value)
				shown = what == "octal" and string.format("%04o", number) or tostring(number)
				if type(what) == "table" and what[number] then
					shown = what[number] .. " (" .. number .. ")"
				end
			else
				shown = tostring(value:bytes())
			end
		end
		item:set_text(name .. ": " .. shown)
		at = at + align(len, 4)
	end
end

local function event(read, range, tree, column)
	if range:len() < EVENT_HDRLEN then
		tree:add_proto_expert_info(bad, "an event is cut")
		return
	end
	local topic_len, flags, content = read.u16(range(32, 2)), range(34, 2), read.u16(range(36, 2))
	read.add(tree, f.seq, range(0, 8))
	read.add(tree, f.time, range(8, 8))
	read.add(tree, f.topic_id, range(16, 4))
	read.add(tree, f.portid, range(20, 4))
	read.add(tree, f.pid, range(24, 4))
	read.add(tree, f.uid, range(28, 4))
	local shown = read.add(tree, f.event_flags, flags)
	for _, flag in ipairs({ f.kernel, f.replayed, f.will, f.no_wait, f.lost }) do
		read.add(shown, flag, flags)
	end
	read.add(tree, f.content, range(36, 2))
	local start = EVENT_HDRLEN + align(topic_len, 8)
	if topic_len == 0 or start > range:len() then
		tree:add_proto_expert_info(bad, "an event's topic has " .. topic_len .. " bytes")
		return
	end
	local topic = range(EVENT_HDRLEN, topic_len)
	tree:add(f.topic, topic, topic:string(ENC_UTF_8))
	local size = range:len() - start
	if math.floor(read.u16(flags) / LOST) % 2 == 1 then
		if size ~= 8 then
			tree:add_proto_expert_info(bad, "how many numbers are lost is said in " .. size .. " bytes")
			return
		end
		read.add(tree, f.lost_count, range(start, size))
		column(string.format("%s, %s lost", topic:string(ENC_UTF_8), tostring(read.u64(range(start, size)))))
		return
	end
	if size > 0 then
		local payload = range(start, size)
		tree:add(f.payload, payload)
		if content == 1 or content == 3 then
			tree:add(f.text, payload, payload:string(ENC_UTF_8))
		end
	end
	column(string.format("%s #%s, %d bytes", topic:string(ENC_UTF_8), tostring(read.u64(range(0, 8))), size))
end

local function verdict(read, range, flags, tree, column)
	if range:len() < 20 then
		tree:add_proto_expert_info(bad, "an error is cut")
		return
	end
	local errno = read.u32(range(0, 4))
	errno = errno >= 0x80000000 and errno - 0x100000000 or errno
	tree:add(f.errno, range(0, 4), errno)
	column(errno == 0 and "ack" or "error " .. -errno)
	-- Behind the error the refused message, or as much of it as its header, and then attributes.
	local at = 4 + NLMSG_HDRLEN
	if math.floor(flags / CAPPED) % 2 == 0 and errno ~= 0 then
		at = 4 + align(read.u32(range(4, 4)), 4)
	end
	if math.floor(flags / ACK_TLVS) % 2 == 1 and at < range:len() then
		local names = { [0] = { "reason", "text" }, [1] = "offset", [2] = "sequence number" }
		attributes(read, range(at, range:len() - at), names, tree)
	end
end

function nlbus.dissector(tvb, pinfo, root)
	pinfo.cols.protocol = "nlbus"
	local at, infos = 0, {}
	while at + NLMSG_HDRLEN <= tvb:len() do
		local read = reader(tvb(at, NLMSG_HDRLEN))
		local len, kind = read.u32(tvb(at, 4)), read.u16(tvb(at + 4, 2))
		local flags = read.u16(tvb(at + 6, 2))
		local whole = math.min(len, tvb:len() - at)
		local tree = root:add(nlbus, tvb(at, math.max(whole, NLMSG_HDRLEN)), "nlbus " .. (TYPES[kind] or "message"))
		read.add(tree, f.len, tvb(at, 4))
		read.add(tree, f.type, tvb(at + 4, 2))
		local shown = read.add(tree, f.flags, tvb(at + 6, 2))
		read.add(shown, f.multi, tvb(at + 6, 2))
		read.add(shown, f.ack, tvb(at + 6, 2))
		read.add(tree, f.number, tvb(at + 8, 4))
		read.add(tree, f.port, tvb(at + 12, 4))
		if len < NLMSG_HDRLEN or len > tvb:len() - at then
			tree:add_proto_expert_info(bad, "its length is " .. len)
			break
		end
		local info = TYPES[kind] or string.format("type %#x", kind)
		local function column(text) info = info .. " " .. text end
		local body = len > NLMSG_HDRLEN and tvb(at + NLMSG_HDRLEN, len - NLMSG_HDRLEN)
		if body and (kind == 0x10 or kind == 0x11) then
			event(read, body, tree, column)
		elseif body and kind == 0x02 then
			verdict(read, body, flags, tree, column)
		elseif body and ATTRIBUTES[kind] then
			attributes(read, body, ATTRIBUTES[kind], tree)
		end
		infos[#infos + 1] = info
		at = at + align(len, 4)
	end
	pinfo.cols.info = table.concat(infos, "; ")
	return tvb:len()
end

-- NETLINK_USERSOCK, and what the module takes unless it is told otherwise.
local PROTOCOLS = { [2] = true, [25] = true }

-- In the place of Wireshark's own dissector of netlink, and not below it in "netlink.protocol": that one (4.0) doesn't
-- step over the padding between messages whose length isn't a multiple of 4, and calls what follows malformed.
local COOKED_LEN, WTAP_ENCAP_NETLINK = 16, 158
local encapsulations = DissectorTable.get("wtap_encap")
local netlink = encapsulations:get_dissector(WTAP_ENCAP_NETLINK)
local cooked = Proto("nlbus_cooked", "netlink, with nlbus")

function cooked.dissector(tvb, pinfo, root)
	if tvb:len() >= COOKED_LEN and PROTOCOLS[tvb(14, 2):uint()] then
		root:add(cooked, tvb(0, COOKED_LEN), "Linux netlink (cooked header), protocol " .. tvb(14, 2):uint())
		if tvb:len() > COOKED_LEN then
			nlbus.dissector(tvb(COOKED_LEN):tvb(), pinfo, root)
		end
	elseif netlink then
		netlink:call(tvb, pinfo, root)
	end
	return tvb:len()
end

encapsulations:add(WTAP_ENCAP_NETLINK, cooked)
