/* SPDX-License-Identifier: Apache-2.0 */
/* The entry points of the commands that live in cli/ itself. argv[0] is the command's name; they return the exit
 * status. */
#ifndef MR_CLI_COMMANDS_H
#define MR_CLI_COMMANDS_H

int check_config_main(int argc, char **argv);
int docs_main(int argc, char **argv);
int api_main(int argc, char **argv); /* these two are declared here, since their rooms know no command lines */
int worker_main(int argc, char **argv);
int key_main(int argc, char **argv);
int submit_main(int argc, char **argv);
int jobs_main(int argc, char **argv);
int batch_main(int argc, char **argv);
int batch_create_main(int argc, char **argv); /* of batch_main */
int files_main(int argc, char **argv);
int watch_main(int argc, char **argv);
int targets_main(int argc, char **argv);
int cache_main(int argc, char **argv);
int drill_main(int argc, char **argv);

#endif
