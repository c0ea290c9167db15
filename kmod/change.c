// SPDX-License-Identifier: GPL-2.0
/*
 * Topics are created, changed and deleted under one lock, so that each request is
 * done whole or not at all: what can be refused comes first.
 */
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <net/net_namespace.h>
#include <uapi/linux/nlbus.h>

#include "access.h"
#include "account.h"
#include "bus.h"
#include "change.h"
#include "moves.h"
#include "params.h"
#include "refusal.h"
#include "request.h"
#include "share.h"
#include "topic.h"

/**
 * nlbus_request_refuse() - refuse a request about a topic
 * @request: the request; who asked for an id isn't told the name
 * @refusal: filled in
 * @err: negative errno
 * @format: the sentence behind the topic, as printf() has it
 *
 * Return: @err.
 */
int nlbus_request_refuse(const struct nlbus_request *request,
			 struct nlbus_refusal *refusal, int err,
			 const char *format, ...)
{
	struct va_format why = { .fmt = format };
	va_list args;

	va_start(args, format);
	why.va = &args;
	if (request->name)
		nlbus_refusal_set(refusal, err, "topic '%.*s': %pV",
				  request->name_len, request->name, &why);
	else
		nlbus_refusal_set(refusal, err, "the topic with the id %u: %pV",
				  request->id, &why);
	va_end(args);
	return err;
}

static int nlbus_refuse_history(const struct nlbus_request *request,
				struct nlbus_refusal *refusal)
{
	return nlbus_request_refuse(request, refusal, -ERANGE,
				    "%llu bytes are more than all histories may keep, %lu",
				    request->history, nlbus_params.history);
}

static int nlbus_refuse_missing(const struct nlbus_request *request,
				struct nlbus_refusal *refusal)
{
	if (request->name)
		return nlbus_refusal_set(refusal, -ENOENT, "no topic '%.*s'",
					 request->name_len, request->name);
	return nlbus_refusal_set(refusal, -ENOENT, "no topic has the id %u",
				 request->id);
}

/**
 * nlbus_topic_look_up() - find the topic that a request is about
 * @bus: the bus
 * @request: the request
 * @refusal: says why, if there is none
 *
 * Return: the topic with a reference, or -ENOENT.
 */
struct nlbus_topic *nlbus_topic_look_up(struct nlbus_bus *bus,
					const struct nlbus_request *request,
					struct nlbus_refusal *refusal)
{
	struct nlbus_topic *topic;

	if (request->name)
		topic = nlbus_topic_by_name(&bus->topics, request->name,
					    request->name_len);
	else
		topic = nlbus_topic_by_id(&bus->topics, request->id);
	return topic ?: ERR_PTR(nlbus_refuse_missing(request, refusal));
}

static int nlbus_change_lock(struct nlbus_bus *bus,
			     struct nlbus_refusal *refusal)
{
	if (mutex_lock_killable(&bus->topics.lock))
		return nlbus_refusal_set(refusal, -EINTR,
					 "the sender was killed");
	return 0;
}

/* Puts what a request gives into what a topic has. */
static int nlbus_change_access(const struct nlbus_bus *bus,
			       const struct nlbus_request *request,
			       struct nlbus_access *access,
			       struct nlbus_refusal *refusal)
{
	struct user_namespace *user_ns = bus->net->user_ns;

	if (request->has & NLBUS_HAS_MODE)
		access->mode = request->mode;
	if (request->has & NLBUS_HAS_UID)
		access->uid = make_kuid(user_ns, request->uid);
	if (request->has & NLBUS_HAS_GID)
		access->gid = make_kgid(user_ns, request->gid);
	if (!uid_valid(access->uid))
		return nlbus_request_refuse(request, refusal, -EINVAL,
					    "the bus's user namespace has no user %u",
					    request->uid);
	if (!gid_valid(access->gid))
		return nlbus_request_refuse(request, refusal, -EINVAL,
					    "the bus's user namespace has no group %u",
					    request->gid);
	return 0;
}

/* Whether the caller may have a topic go from one owner, group and mode to others. */
static int nlbus_change_check(struct nlbus_caller *caller,
			      const struct nlbus_request *request,
			      const struct nlbus_access *from,
			      const struct nlbus_access *to,
			      struct nlbus_refusal *refusal)
{
	if (!nlbus_caller_may_give(caller, from, to))
		return nlbus_request_refuse(request, refusal, -EACCES,
					    "another owner, or a group that its owner isn't in, takes CAP_NET_ADMIN, of the socket's opener too");
	if ((request->has & NLBUS_HAS_HISTORY) &&
	    request->history > nlbus_params.history)
		return nlbus_refuse_history(request, refusal);
	return 0;
}

static bool nlbus_type_differs(const struct nlbus_topic *topic,
			       const struct nlbus_request *request)
{
	return (request->has & NLBUS_HAS_TYPE) &&
	       (request->type_len != topic->type_len ||
		memcmp(request->type, topic->type, topic->type_len));
}

static void nlbus_type_set(struct nlbus_topic *topic,
			   const struct nlbus_request *request)
{
	topic->type_len = request->type_len;
	memcpy(topic->type, request->type, request->type_len);
}

/* Gives a topic another owner, group or mode, another type if the request has one,
 * and another multicast group unless that is 0.
 */
static void nlbus_change_apply(struct nlbus_topic *topic,
			       const struct nlbus_request *request,
			       const struct nlbus_access *to, u32 group)
{
	struct nlbus_groups *groups = &topic->bus->topics.groups;
	u32 before = topic->group;

	spin_lock(&topic->history.lock);
	topic->access.uid = to->uid;
	topic->access.gid = to->gid;
	WRITE_ONCE(topic->access.mode, to->mode);
	if (request->has & NLBUS_HAS_TYPE)
		nlbus_type_set(topic, request);
	/* Behind the mode, or those could join who might read it before. */
	if (group) {
		nlbus_group_open(groups, topic, group);
		WRITE_ONCE(topic->group, group);
	}
	topic->history.change = atomic64_inc_return(&topic->bus->change);
	spin_unlock(&topic->history.lock);

	if (group)
		nlbus_group_retire(groups, before);
	nlbus_moves_changed(topic);
}

/* Somebody would create a topic that is there: if it has no type it gets his, as
 * long as he may publish to it, and is to be told of it.
 */
static void nlbus_create_type(struct nlbus_topic *topic,
			      struct nlbus_caller *caller,
			      const struct nlbus_request *request)
{
	struct nlbus_access same = topic->access;

	if (!topic->type_len && nlbus_type_differs(topic, request) &&
	    nlbus_caller_may_look(caller, topic) &&
	    nlbus_caller_may(caller, topic, NLBUS_WRITE))
		nlbus_change_apply(topic, request, &same, 0);
}

static struct nlbus_topic *nlbus_create(struct nlbus_bus *bus,
					struct nlbus_caller *caller,
					const struct nlbus_request *request,
					struct nlbus_refusal *refusal)
{
	struct nlbus_access mine, access;
	struct nlbus_share *share;
	struct nlbus_topic *topic;
	int err;

	topic = nlbus_topic_by_name(&bus->topics, request->name,
				    request->name_len);
	if (topic && !request->exclusive) {
		nlbus_create_type(topic, caller, request);
		return topic;
	}
	if (topic) {
		nlbus_topic_put(topic);
		return ERR_PTR(nlbus_refusal_set(refusal, -EEXIST,
						 "topic '%.*s' exists",
						 request->name_len,
						 request->name));
	}

	nlbus_access_default(&mine);
	access = mine;
	err = nlbus_change_access(bus, request, &access, refusal);
	if (!err)
		err = nlbus_change_check(caller, request, &mine, &access,
					 refusal);
	if (err)
		return ERR_PTR(err);
	share = nlbus_share_get(bus);
	if (IS_ERR(share))
		return ERR_PTR(nlbus_share_refuse(refusal, PTR_ERR(share)));
	topic = nlbus_topic_prepare(bus, request->name, request->name_len,
				    &access, share, refusal);
	nlbus_share_put(share);
	if (IS_ERR(topic))
		return topic;
	if (request->has & NLBUS_HAS_HISTORY)
		topic->history.limit = request->history;
	if (request->has & NLBUS_HAS_TYPE)
		nlbus_type_set(topic, request);
	nlbus_topics_commit(bus);
	return topic;
}

/**
 * nlbus_topic_create() - create a topic, or find one that exists
 * @bus: the bus
 * @caller: who asks for it
 * @request: the request
 * @refusal: says why, if it is refused
 *
 * Return: the topic with a reference; or a negative errno of docs/PROTOCOL.md.
 */
struct nlbus_topic *nlbus_topic_create(struct nlbus_bus *bus,
				       struct nlbus_caller *caller,
				       const struct nlbus_request *request,
				       struct nlbus_refusal *refusal)
{
	struct nlbus_topic *topic;
	int err = nlbus_change_lock(bus, refusal);

	if (err)
		return ERR_PTR(err);
	topic = nlbus_create(bus, caller, request, refusal);
	mutex_unlock(&bus->topics.lock);
	return topic;
}

/* Finds a topic that the caller may change; under the lock, so it can't be deleted
 * meanwhile.
 */
static struct nlbus_topic *nlbus_change_find(struct nlbus_bus *bus,
					     struct nlbus_caller *caller,
					     const struct nlbus_request *request,
					     struct nlbus_refusal *refusal)
{
	struct nlbus_topic *topic = nlbus_topic_look_up(bus, request, refusal);
	int err;

	if (IS_ERR(topic))
		return topic;
	if (topic->group < NLBUS_GROUP_FIRST)
		err = nlbus_request_refuse(request, refusal, -EACCES,
					   "it is the broker's own");
	else if (!nlbus_caller_may_change(caller, &topic->access))
		err = nlbus_request_refuse(request, refusal, -EACCES,
					   "changing it takes its owner or CAP_NET_ADMIN, of the socket's opener too");
	else
		return topic;
	nlbus_topic_put(topic);
	return ERR_PTR(err);
}

/* Takes another group for a topic that fewer may read from now on. It counts for
 * who has that done, whose topic ever it is.
 */
static int nlbus_change_group(struct nlbus_bus *bus, struct nlbus_topic *topic,
			      struct nlbus_refusal *refusal)
{
	struct nlbus_share *share = nlbus_share_get(bus);
	int group;

	if (IS_ERR(share))
		return nlbus_share_refuse(refusal, PTR_ERR(share));
	group = nlbus_group_private(&bus->topics.groups, share);
	nlbus_share_put(share);
	if (group < 0)
		return nlbus_group_refuse(refusal, group, topic->name,
					  topic->name_len);
	return group;
}

static int nlbus_change(struct nlbus_bus *bus, struct nlbus_caller *caller,
			const struct nlbus_request *request,
			struct nlbus_topic *topic,
			struct nlbus_refusal *refusal)
{
	struct nlbus_access to = topic->access;
	int group = 0, err;

	err = nlbus_change_access(bus, request, &to, refusal);
	if (!err)
		err = nlbus_change_check(caller, request, &topic->access, &to,
					 refusal);
	if (err)
		return err;
	if (nlbus_access_narrows(&topic->access, &to)) {
		group = nlbus_change_group(bus, topic, refusal);
		if (group < 0)
			return group;
	}

	if (!nlbus_access_same(&topic->access, &to) ||
	    nlbus_type_differs(topic, request))
		nlbus_change_apply(topic, request, &to, group);
	if (request->has & NLBUS_HAS_HISTORY)
		nlbus_history_set_limit(bus, &topic->history,
					request->history);
	return 0;
}

/**
 * nlbus_topic_change() - change a topic: its owner, group, mode, history, type
 * @bus: the bus
 * @caller: who asks for it
 * @request: the request
 * @refusal: says why, if it is refused
 *
 * Return: the topic with a reference; or a negative errno of docs/PROTOCOL.md, and
 * then nothing is changed.
 */
struct nlbus_topic *nlbus_topic_change(struct nlbus_bus *bus,
				       struct nlbus_caller *caller,
				       const struct nlbus_request *request,
				       struct nlbus_refusal *refusal)
{
	struct nlbus_topic *topic;
	int err = nlbus_change_lock(bus, refusal);

	if (err)
		return ERR_PTR(err);
	topic = nlbus_change_find(bus, caller, request, refusal);
	if (!IS_ERR(topic)) {
		err = nlbus_change(bus, caller, request, topic, refusal);
		if (err) {
			nlbus_topic_put(topic);
			topic = ERR_PTR(err);
		}
	}
	mutex_unlock(&bus->topics.lock);
	return topic;
}

/* Waits until the caller may delete another topic: few enough of those that he and
 * all others deleted are to be announced still.
 */
static int nlbus_remove_wait(struct nlbus_bus *bus,
			     struct nlbus_refusal *refusal)
{
	struct nlbus_account *account = nlbus_account_get();
	int err;

	if (IS_ERR(account))
		return nlbus_share_refuse(refusal, PTR_ERR(account));
	err = nlbus_account_wait(account);
	if (!err)
		err = nlbus_moves_wait(&bus->moves);
	nlbus_account_put(account);
	if (err)
		return nlbus_refusal_set(refusal, err, "the sender was killed");
	return 0;
}

/**
 * nlbus_topic_remove() - delete a topic
 * @bus: the bus
 * @caller: who asks for it
 * @request: the request
 * @refusal: says why, if it is refused
 *
 * Return: what was the topic, with a reference; or a negative errno of
 * docs/PROTOCOL.md.
 */
struct nlbus_topic *nlbus_topic_remove(struct nlbus_bus *bus,
				       struct nlbus_caller *caller,
				       const struct nlbus_request *request,
				       struct nlbus_refusal *refusal)
{
	struct nlbus_topic *topic;
	int err;

	err = nlbus_remove_wait(bus, refusal);
	if (!err)
		err = nlbus_change_lock(bus, refusal);
	if (err)
		return ERR_PTR(err);
	topic = nlbus_change_find(bus, caller, request, refusal);
	if (!IS_ERR(topic))
		nlbus_topic_delete(topic);
	mutex_unlock(&bus->topics.lock);
	return topic;
}
