// SPDX-License-Identifier: GPL-2.0
/*
 * Publishes from hardirq, softirq and process context, all at once and as fast as each
 * can, as long as parameter `run` is set. For tests: what was published and what was
 * dropped is counted, in parameters that can be read.
 */
#include <linux/atomic.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/nlbus.h>
#include <linux/sched.h>
#include <linux/timer.h>
#include <net/net_namespace.h>

#include "../compat.h"

#define NLBUS_CONTEXTS_HARDIRQ	"kernel/contexts/hardirq"
#define NLBUS_CONTEXTS_SOFTIRQ	"kernel/contexts/softirq"
#define NLBUS_CONTEXTS_PROCESS	"kernel/contexts/process"

static ulong published;
module_param(published, ulong, 0444);
MODULE_PARM_DESC(published, "events that the bus took");
static ulong dropped;
module_param(dropped, ulong, 0444);
MODULE_PARM_DESC(dropped, "events that it dropped");
static ulong failed;
module_param(failed, ulong, 0444);
MODULE_PARM_DESC(failed, "events that it refused for another reason");

static uint size = 64;
module_param(size, uint, 0644);
MODULE_PARM_DESC(size, "bytes of a payload, at most 4096");
static uint burst = 16;
module_param(burst, uint, 0644);
MODULE_PARM_DESC(burst, "events that each publishes at once");

static ulong limit;
module_param(limit, ulong, 0644);
MODULE_PARM_DESC(limit, "how many to publish or drop about, 0 = without end");

static bool ready;
static bool running;
static DEFINE_MUTEX(nlbus_contexts_lock);
static DEFINE_SPINLOCK(nlbus_contexts_counters);
static struct hrtimer nlbus_contexts_hrtimer;
static struct timer_list nlbus_contexts_timer;
static struct task_struct *nlbus_contexts_thread;

static void nlbus_contexts_publish(const char *topic, uint count)
{
	static const char payload[4096];
	unsigned long took = 0, drops = 0, fails = 0, flags;
	uint len = min_t(uint, READ_ONCE(size), sizeof(payload));

	if (limit && READ_ONCE(published) + READ_ONCE(dropped) >= limit)
		return;
	for (; count; count--) {
		switch (nlbus_publish(&init_net, topic, payload, len,
				      NLBUS_CONTENT_OPAQUE)) {
		case 0:
			took++;
			break;
		case -ENOBUFS:
		case -ENOMEM:
			drops++;
			break;
		default:
			fails++;
		}
	}
	spin_lock_irqsave(&nlbus_contexts_counters, flags);
	published += took;
	dropped += drops;
	failed += fails;
	spin_unlock_irqrestore(&nlbus_contexts_counters, flags);
}

static enum hrtimer_restart nlbus_contexts_hardirq(struct hrtimer *timer)
{
	nlbus_contexts_publish(NLBUS_CONTEXTS_HARDIRQ, READ_ONCE(burst));
	hrtimer_forward_now(timer, ms_to_ktime(1));
	return HRTIMER_RESTART;
}

static void nlbus_contexts_softirq(struct timer_list *timer)
{
	nlbus_contexts_publish(NLBUS_CONTEXTS_SOFTIRQ, READ_ONCE(burst));
	mod_timer(timer, jiffies + 1);
}

static int nlbus_contexts_process(void *data)
{
	while (!kthread_should_stop()) {
		nlbus_contexts_publish(NLBUS_CONTEXTS_PROCESS, READ_ONCE(burst));
		cond_resched();
	}
	return 0;
}

static int nlbus_contexts_start(void)
{
	struct task_struct *thread;

	thread = kthread_run(nlbus_contexts_process, NULL, "nlbus_contexts");
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	nlbus_contexts_thread = thread;
	hrtimer_start(&nlbus_contexts_hrtimer, ms_to_ktime(1),
		      HRTIMER_MODE_REL_HARD);
	mod_timer(&nlbus_contexts_timer, jiffies + 1);
	return 0;
}

static void nlbus_contexts_stop(void)
{
	kthread_stop(nlbus_contexts_thread);
	hrtimer_cancel(&nlbus_contexts_hrtimer);
	timer_delete_sync(&nlbus_contexts_timer);
}

static int nlbus_contexts_set(const char *value, const struct kernel_param *param)
{
	int err = 0;
	bool run;

	if (kstrtobool(value, &run))
		return -EINVAL;
	/* Parameters of insmod are set before there are timers. */
	if (!ready)
		return -EBUSY;
	mutex_lock(&nlbus_contexts_lock);
	if (run != running) {
		if (run)
			err = nlbus_contexts_start();
		else
			nlbus_contexts_stop();
		if (!err)
			running = run;
	}
	mutex_unlock(&nlbus_contexts_lock);
	return err;
}

static const struct kernel_param_ops nlbus_contexts_run = {
	.set = nlbus_contexts_set,
	.get = param_get_bool,
};
module_param_cb(run, &nlbus_contexts_run, &running, 0644);
MODULE_PARM_DESC(run, "whether to publish");

static int __init nlbus_contexts_init(void)
{
	hrtimer_setup(&nlbus_contexts_hrtimer, nlbus_contexts_hardirq,
		      CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	timer_setup(&nlbus_contexts_timer, nlbus_contexts_softirq, 0);
	/* So that there are topics, whose drops have numbers. */
	nlbus_contexts_publish(NLBUS_CONTEXTS_HARDIRQ, 1);
	nlbus_contexts_publish(NLBUS_CONTEXTS_SOFTIRQ, 1);
	nlbus_contexts_publish(NLBUS_CONTEXTS_PROCESS, 1);
	ready = true;
	return 0;
}

static void __exit nlbus_contexts_exit(void)
{
	if (running)
		nlbus_contexts_stop();
}

module_init(nlbus_contexts_init);
module_exit(nlbus_contexts_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The nlbus authors");
MODULE_DESCRIPTION("Publishes to nlbus from each context that may");
