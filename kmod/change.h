/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests that create, change or delete a topic.
 */
#ifndef _NLBUS_CHANGE_H
#define _NLBUS_CHANGE_H

#include <linux/compiler_attributes.h>

struct nlbus_bus;
struct nlbus_caller;
struct nlbus_refusal;
struct nlbus_request;
struct nlbus_topic;

struct nlbus_topic *nlbus_topic_look_up(struct nlbus_bus *bus,
					const struct nlbus_request *request,
					struct nlbus_refusal *refusal);
struct nlbus_topic *nlbus_topic_create(struct nlbus_bus *bus,
				       struct nlbus_caller *caller,
				       const struct nlbus_request *request,
				       struct nlbus_refusal *refusal);
struct nlbus_topic *nlbus_topic_change(struct nlbus_bus *bus,
				       struct nlbus_caller *caller,
				       const struct nlbus_request *request,
				       struct nlbus_refusal *refusal);
struct nlbus_topic *nlbus_topic_remove(struct nlbus_bus *bus,
				       struct nlbus_caller *caller,
				       const struct nlbus_request *request,
				       struct nlbus_refusal *refusal);
int nlbus_request_refuse(const struct nlbus_request *request,
			 struct nlbus_refusal *refusal, int err,
			 const char *format, ...) __printf(4, 5);

#endif /* _NLBUS_CHANGE_H */
