/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every subcommand's exit status means, once. EXIT(NAME, status, text); `millrace help exit-codes` prints it.
 */
#ifndef MR_CLI_EXIT_H
#define MR_CLI_EXIT_H

#define CLI_EXITS(EXIT)                                                                  \
	EXIT(OK, 0, "Done")                                                              \
	EXIT(FAILED, 1, "A job, a check or the command itself failed")                   \
	EXIT(USAGE, 2, "The command line is wrong")                                      \
	EXIT(NOT_FOUND, 3, "There is no such job, batch, key or file")                   \
	EXIT(UNREACHABLE, 4, "The service or the database cannot be reached or refuses") \
	EXIT(TIMEOUT, 5, "It took longer than --timeout allows")

enum cli_exit {
#define CLI_EXIT_ENUM(name, status, text) CLI_EXIT_##name = status,
	CLI_EXITS(CLI_EXIT_ENUM)
#undef CLI_EXIT_ENUM
};

#endif
