// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * $(exec PROGRAM,ARGUMENT): a function for GNU make (`load`, info: Loading Objects) that runs the program in make's
 * own place. make itself ends with 2 whenever a recipe fails; `make vm` has to end with the status of what it ran.
 */
#include <gnumake.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int plugin_is_GPL_compatible;

static char *exec(const char *name, unsigned int argc, char **argv)
{
	(void)name;
	(void)argc;
	unsetenv("MAKEFLAGS"); /* not meant for the makes that the program calls */
	execl(argv[0], argv[0], argv[1], (char *)NULL);
	perror(argv[0]);
	exit(127);
}

int setup(const gmk_floc *from);
int setup(const gmk_floc *from)
{
	(void)from;
	gmk_add_function("exec", exec, 2, 2, GMK_FUNC_DEFAULT);
	return 1;
}
