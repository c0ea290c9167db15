// SPDX-License-Identifier: GPL-2.0
/*
 * Requests are netlink attributes and are checked strictly, so that none means
 * less than its sender thought.
 */
#include <linux/errno.h>
#include <linux/netlink.h>
#include <linux/string.h>
#include <net/netlink.h>
#include <uapi/linux/nlbus.h>

#include "name.h"
#include "refusal.h"
#include "request.h"

/* Exact lengths of binaries, not NLA_U32 and NLA_U64: of those validate_nla()
 * reports a wrong length to the kernel log, where any user could fill it.
 */
#define NLBUS_U32	NLA_POLICY_EXACT_LEN(sizeof(u32))
#define NLBUS_U64	NLA_POLICY_EXACT_LEN(sizeof(u64))

/* INFO takes no attributes. */
static const struct nla_policy nlbus_info_policy[1];

static const struct nla_policy nlbus_topic_policy[] = {
	[NLBUS_TOPIC_A_OP]	= NLBUS_U32,
	[NLBUS_TOPIC_A_CURSOR]	= NLBUS_U32,
	[NLBUS_TOPIC_A_SINCE]	= NLBUS_U64,
	[NLBUS_TOPIC_A_ID]	= NLBUS_U32,
	/* of any length: that has errors of its own */
	[NLBUS_TOPIC_A_NAME]	= { .type = NLA_BINARY },
	[NLBUS_TOPIC_A_MODE]	= NLBUS_U32,
	[NLBUS_TOPIC_A_UID]	= NLBUS_U32,
	[NLBUS_TOPIC_A_GID]	= NLBUS_U32,
	[NLBUS_TOPIC_A_HISTORY]	= NLBUS_U64,
	[NLBUS_TOPIC_A_TYPE]	= { .type = NLA_BINARY }, /* likewise */
};

static const struct nla_policy nlbus_replay_policy[] = {
	[NLBUS_REPLAY_A_EPOCH]	= NLBUS_U64,
	[NLBUS_REPLAY_A_TOPIC]	= NLBUS_U32,
	[NLBUS_REPLAY_A_FROM]	= NLBUS_U64,
	[NLBUS_REPLAY_A_LIMIT]	= NLBUS_U32,
};

static const struct nla_policy nlbus_will_policy[] = {
	[NLBUS_WILL_A_TOPIC]	= { .type = NLA_BINARY },
	[NLBUS_WILL_A_CONTENT]	= NLBUS_U32,
	[NLBUS_WILL_A_PAYLOAD]	= { .type = NLA_BINARY },
};

static int nlbus_invalid(struct nlbus_refusal *refusal, const char *what)
{
	return nlbus_refusal_set(refusal, -EINVAL, "%s", what);
}

/* Sorts the attributes of a message into @tb. */
static int nlbus_parse(const struct nlmsghdr *nlh, struct nlattr **tb, int max,
		       const struct nla_policy *policy,
		       struct nlbus_refusal *refusal)
{
	struct netlink_ext_ack extack = {};
	const struct nlattr *attr;
	int left;

	/* Before nla_parse(), which would tell the kernel log. */
	nlmsg_for_each_attr(attr, nlh, 0, left)
		;
	if (left > 0)
		return nlbus_refusal_set(refusal, -EINVAL,
					 "%d bytes are left over behind the attributes",
					 left);

	if (!nla_parse(tb, max, nlmsg_data(nlh), nlmsg_len(nlh), policy,
		       &extack))
		return 0;
	return nlbus_refusal_set(refusal, -EINVAL, "attribute %u: %s",
				 extack.bad_attr ? nla_type(extack.bad_attr) : 0,
				 extack._msg ?: "not valid");
}

static int nlbus_info_check(const struct nlmsghdr *nlh,
			    struct nlbus_refusal *refusal)
{
	struct nlattr *tb[1];

	return nlbus_parse(nlh, tb, 0, nlbus_info_policy, refusal);
}

/* Takes what a topic's values are to be called. */
static int nlbus_type_check(const struct nlattr *type,
			    struct nlbus_request *request,
			    struct nlbus_refusal *refusal)
{
	const u8 *name = nla_data(type);
	int len = nla_len(type), i;

	if (len > NLBUS_TYPE_MAX)
		return nlbus_refusal_set(refusal, -ENAMETOOLONG,
					 "a type's name has 1 to %u bytes, not %d",
					 NLBUS_TYPE_MAX, len);
	for (i = 0; i < len; i++)
		if (name[i] < ' ' || name[i] > '~')
			return nlbus_invalid(refusal,
					     "a type's name has printable ASCII characters only");
	request->type = name;
	request->type_len = len;
	request->has |= NLBUS_HAS_TYPE;
	return 0;
}

/* Takes what a topic is to be given. */
static int nlbus_settings_check(struct nlattr **tb,
				struct nlbus_request *request,
				struct nlbus_refusal *refusal)
{
	if (tb[NLBUS_TOPIC_A_MODE]) {
		u32 mode = nla_get_u32(tb[NLBUS_TOPIC_A_MODE]);

		if (mode & ~NLBUS_TOPIC_MODE_MASK)
			return nlbus_refusal_set(refusal, -EINVAL,
						 "mode %#o has other bits than %#o",
						 mode, NLBUS_TOPIC_MODE_MASK);
		request->mode = mode;
		request->has |= NLBUS_HAS_MODE;
	}
	if (tb[NLBUS_TOPIC_A_UID]) {
		request->uid = nla_get_u32(tb[NLBUS_TOPIC_A_UID]);
		request->has |= NLBUS_HAS_UID;
	}
	if (tb[NLBUS_TOPIC_A_GID]) {
		request->gid = nla_get_u32(tb[NLBUS_TOPIC_A_GID]);
		request->has |= NLBUS_HAS_GID;
	}
	if (tb[NLBUS_TOPIC_A_HISTORY]) {
		request->history = nla_get_u64(tb[NLBUS_TOPIC_A_HISTORY]);
		request->has |= NLBUS_HAS_HISTORY;
	}
	if (tb[NLBUS_TOPIC_A_TYPE]) {
		int err = nlbus_type_check(tb[NLBUS_TOPIC_A_TYPE], request,
					   refusal);

		if (err)
			return err;
	}

	if (request->replace && !request->has)
		return nlbus_invalid(refusal,
				     "REPLACE takes MODE, UID, GID, HISTORY or TYPE");
	if (request->has && !request->replace && !request->create)
		return nlbus_invalid(refusal,
				     "MODE, UID, GID, HISTORY and TYPE go with CREATE or REPLACE");
	return 0;
}

static int nlbus_list_check(struct nlattr **tb, struct nlbus_request *request,
			    struct nlbus_refusal *refusal)
{
	if (request->create || request->replace || request->has ||
	    tb[NLBUS_TOPIC_A_NAME] || tb[NLBUS_TOPIC_A_ID])
		return nlbus_invalid(refusal,
				     "LIST takes CURSOR and SINCE alone");
	if (tb[NLBUS_TOPIC_A_CURSOR])
		request->cursor = nla_get_u32(tb[NLBUS_TOPIC_A_CURSOR]);
	if (tb[NLBUS_TOPIC_A_SINCE]) {
		request->has_since = true;
		request->since = nla_get_u64(tb[NLBUS_TOPIC_A_SINCE]);
	}
	return 0;
}

/* A request about one topic: GET or DELETE. */
static int nlbus_one_check(struct nlattr **tb, struct nlbus_request *request,
			   struct nlbus_refusal *refusal)
{
	const struct nlattr *name = tb[NLBUS_TOPIC_A_NAME];
	int err;

	if (tb[NLBUS_TOPIC_A_CURSOR] || tb[NLBUS_TOPIC_A_SINCE])
		return nlbus_invalid(refusal, "CURSOR and SINCE go with LIST");
	if (!name == !tb[NLBUS_TOPIC_A_ID])
		return nlbus_invalid(refusal,
				     "a topic is given by either NAME or ID");
	if (!name) {
		if (request->create)
			return nlbus_invalid(refusal, "CREATE takes a NAME");
		request->id = nla_get_u32(tb[NLBUS_TOPIC_A_ID]);
		return 0;
	}

	if (request->create)
		err = nlbus_name_check_open(nla_data(name), nla_len(name),
					    refusal);
	else
		err = nlbus_name_check(nla_data(name), nla_len(name), refusal);
	if (err)
		return err;
	request->name = nla_data(name);
	request->name_len = nla_len(name);
	return 0;
}

static int nlbus_topic_check(const struct nlmsghdr *nlh,
			     struct nlbus_request *request,
			     struct nlbus_refusal *refusal)
{
	struct nlattr *tb[ARRAY_SIZE(nlbus_topic_policy)];
	int err;

	err = nlbus_parse(nlh, tb, ARRAY_SIZE(tb) - 1, nlbus_topic_policy,
			  refusal);
	if (err)
		return err;

	request->create = nlh->nlmsg_flags & NLM_F_CREATE;
	request->exclusive = nlh->nlmsg_flags & NLM_F_EXCL;
	request->replace = nlh->nlmsg_flags & NLM_F_REPLACE;
	if (request->exclusive && !request->create)
		return nlbus_invalid(refusal, "EXCL goes with CREATE");
	if (request->create && request->replace)
		return nlbus_invalid(refusal,
				     "CREATE and REPLACE exclude each other");

	if (tb[NLBUS_TOPIC_A_OP])
		request->op = nla_get_u32(tb[NLBUS_TOPIC_A_OP]);
	err = nlbus_settings_check(tb, request, refusal);
	if (err)
		return err;
	switch (request->op) {
	case NLBUS_TOPIC_OP_GET:
		return nlbus_one_check(tb, request, refusal);
	case NLBUS_TOPIC_OP_LIST:
		return nlbus_list_check(tb, request, refusal);
	case NLBUS_TOPIC_OP_DELETE:
		if (request->create || request->replace)
			return nlbus_invalid(refusal,
					     "DELETE takes no other flags");
		return nlbus_one_check(tb, request, refusal);
	default:
		return nlbus_refusal_set(refusal, -EINVAL,
					 "unknown operation %u on topics",
					 request->op);
	}
}

static int nlbus_replay_check(const struct nlmsghdr *nlh,
			      struct nlbus_request *request,
			      struct nlbus_refusal *refusal)
{
	struct nlattr *tb[ARRAY_SIZE(nlbus_replay_policy)];
	int err;

	err = nlbus_parse(nlh, tb, ARRAY_SIZE(tb) - 1, nlbus_replay_policy,
			  refusal);
	if (err)
		return err;
	if (!tb[NLBUS_REPLAY_A_EPOCH] || !tb[NLBUS_REPLAY_A_TOPIC] ||
	    !tb[NLBUS_REPLAY_A_FROM])
		return nlbus_invalid(refusal,
				     "REPLAY needs EPOCH, TOPIC and FROM");

	request->epoch = nla_get_u64(tb[NLBUS_REPLAY_A_EPOCH]);
	request->id = nla_get_u32(tb[NLBUS_REPLAY_A_TOPIC]);
	request->from = nla_get_u64(tb[NLBUS_REPLAY_A_FROM]);
	if (!request->from)
		return nlbus_invalid(refusal, "sequence numbers begin at 1");
	if (tb[NLBUS_REPLAY_A_LIMIT])
		request->limit = nla_get_u32(tb[NLBUS_REPLAY_A_LIMIT]);
	return 0;
}

static int nlbus_will_check(const struct nlmsghdr *nlh,
			    struct nlbus_request *request,
			    struct nlbus_refusal *refusal)
{
	struct nlattr *tb[ARRAY_SIZE(nlbus_will_policy)];
	const struct nlattr *topic, *content, *payload;
	int err;

	err = nlbus_parse(nlh, tb, ARRAY_SIZE(tb) - 1, nlbus_will_policy,
			  refusal);
	if (err)
		return err;

	topic = tb[NLBUS_WILL_A_TOPIC];
	content = tb[NLBUS_WILL_A_CONTENT];
	payload = tb[NLBUS_WILL_A_PAYLOAD];
	if (!topic)
		return content || payload ?
			nlbus_invalid(refusal, "a will needs a TOPIC") : 0;

	err = nlbus_name_check_open(nla_data(topic), nla_len(topic), refusal);
	if (err)
		return err;
	if (content && nla_get_u32(content) > NLBUS_CONTENT_MAX)
		return nlbus_refusal_set(refusal, -EINVAL, "unknown content %u",
					 nla_get_u32(content));
	if (payload && nla_len(payload) > NLBUS_PAYLOAD_MAX)
		return nlbus_refusal_set(refusal, -EMSGSIZE,
					 "topic '%.*s': the payload has %d bytes, at most %u are allowed",
					 nla_len(topic), (u8 *)nla_data(topic),
					 nla_len(payload), NLBUS_PAYLOAD_MAX);
	request->name = nla_data(topic);
	request->name_len = nla_len(topic);
	request->content = content ? nla_get_u32(content) :
				     NLBUS_CONTENT_OPAQUE;
	if (payload) {
		request->payload = nla_data(payload);
		request->payload_len = nla_len(payload);
	}
	return 0;
}

/**
 * nlbus_request_check() - check a request, all but what depends on the bus
 * @nlh: the message, not a publish, of a known type
 * @request: filled in
 * @refusal: says why, unless it is well-formed
 *
 * Return: 0; -EINVAL, or what a topic's name is refused with.
 */
int nlbus_request_check(const struct nlmsghdr *nlh,
			struct nlbus_request *request,
			struct nlbus_refusal *refusal)
{
	*request = (struct nlbus_request) {};
	switch (nlh->nlmsg_type) {
	case NLBUS_MSG_INFO:
		return nlbus_info_check(nlh, refusal);
	case NLBUS_MSG_TOPIC:
		return nlbus_topic_check(nlh, request, refusal);
	case NLBUS_MSG_REPLAY:
		return nlbus_replay_check(nlh, request, refusal);
	default:
		return nlbus_will_check(nlh, request, refusal);
	}
}
