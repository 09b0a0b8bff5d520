/* SPDX-License-Identifier: Apache-2.0 */
/* Linux tells both: the boot's UUID (random(4)) and the inode of the namespace (pid_namespaces(7)). */
#include "common/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#define UUID_LEN 36

struct str boot_text(char out[BOOT_TEXT_MAX])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t id = fd < 0 ? -1 : read(fd, out, UUID_LEN);
	if (fd >= 0)
		close(fd);
	if (id != UUID_LEN)
		return (struct str){ 0 };
	out[UUID_LEN] = ' ';
	ssize_t ns = readlink("/proc/self/ns/pid", out + UUID_LEN + 1, BOOT_TEXT_MAX - UUID_LEN - 1);
	return ns > 0 ? (struct str){ out, UUID_LEN + 1 + (size_t)ns } : (struct str){ 0 };
}

bool boot_has_process(int pid)
{
	return pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH;
}
