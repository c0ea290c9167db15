// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * relay: the guest's first process from the moment it is ready. Runs the shell line in /run/line and carries
 * its stdout and stderr to the host byte by byte over two virtio ports, which know no lines, no echo and no
 * control characters. Then it says on a third port how the line ended and how many bytes went over each of
 * the other two, so that the host knows when it has everything and ends the VM: nothing written is lost.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct stream {
	int from, to;
	unsigned long long bytes;
};

static char buffer[65536];

static int port(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

/* Carries what is there; 0 when the writers are gone, -1 when there is nothing at present. */
static int carry(struct stream *s)
{
	ssize_t got = read(s->from, buffer, sizeof(buffer));

	for (ssize_t done = 0; done < got;) {
		ssize_t n = write(s->to, buffer + done, got - done);

		if (n < 0)
			err(1, "write to the host");
		done += n;
		s->bytes += n;
	}
	return got < 0 ? -1 : got > 0;
}

/* Reaps every orphan too: this is process 1. Returns the status of `shell` once it has ended, else -1. */
static int reap(pid_t shell)
{
	int status, result = -1;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == shell)
			result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return result;
}

int main(void)
{
	int out[2], error[2], status = -1;
	sigset_t child;
	pid_t shell;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	if (pipe2(out, O_CLOEXEC) || pipe2(error, O_CLOEXEC))
		err(1, "pipe2");

	shell = fork();
	if (shell == 0) {
		sigprocmask(SIG_UNBLOCK, &child, NULL);
		setsid(); /* so that a group of its own can be signalled, `kill 0` say */
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(out[1], 1);
		dup2(error[1], 2);
		execl("/bin/sh", "sh", "/run/line", NULL);
		_exit(127);
	}
	close(out[1]);
	close(error[1]);
	/* Only the ends held here: O_NONBLOCK belongs to the open file, and the writers have the other end. */
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(error[0], F_SETFL, O_NONBLOCK);

	struct stream streams[2] = { { out[0], port("/dev/vport0p1"), 0 }, { error[0], port("/dev/vport0p2"), 0 } };
	struct pollfd poll_for[3] = {
		{ signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK), POLLIN, 0 },
		{ out[0], POLLIN, 0 },
		{ error[0], POLLIN, 0 },
	};

	while (status < 0) {
		struct signalfd_siginfo ignored;

		poll(poll_for, 3, -1);
		for (int i = 0; i < 2; i++)
			if (poll_for[i + 1].revents && carry(&streams[i]) == 0)
				poll_for[i + 1].fd = -1; /* closed by all who had it */
		while (read(poll_for[0].fd, &ignored, sizeof(ignored)) > 0)
			;
		status = reap(shell);
	}
	/* The line is done. What its background processes still write is nobody's, but what is in the pipe counts. */
	for (int i = 0; i < 2; i++)
		while (carry(&streams[i]) > 0)
			;

	dprintf(port("/dev/vport0p3"), "exit %d stdout %llu stderr %llu\n", status, streams[0].bytes, streams[1].bytes);
	for (;;)
		pause();
}
