package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/cgroup"
	"github.com/netjail/netjail/daemon/guard/client"
)

// What guards give that are not there.
const (
	givesNetns = "--guard netns: a wall in the kernel for UDP, too, without root"
	givesNft   = "--guard nft: a wall in the kernel for UDP, too, that outlives its supervisor"
)

// tryUserns sets up a network in namespaces of a helper's own.
func tryUserns(ctx context.Context, v *visit) Result {
	cmd := helper(ctx, "loopback")
	inNamespaces(cmd)
	if _, err := output(cmd); err != nil {
		return usernsRefused(v, err)
	}
	return ok("a program can make its own, with a network in it")
}

func usernsRefused(v *visit, err error) Result {
	fix := "a container's seccomp profile, or a security module, forbids it"
	switch {
	case v.word("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		fix = "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 (programs with an AppArmor profile for it need that not)"
	case v.word("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		fix = "sudo sysctl kernel.unprivileged_userns_clone=1"
	case v.word("/proc/sys/user/max_user_namespaces") == "0":
		fix = "sudo sysctl user.max_user_namespaces=15000"
	}
	return lost("refused: "+symbol(err), "the sandbox of Chromium and Electron in a jail, where their setuid helper does not work", fix)
}

// tryPasta runs pasta.
func tryPasta(ctx context.Context, v *visit) Result {
	path := v.look("pasta")
	if path == "" {
		return absent("not in PATH", givesNetns, "install the package passt")
	}
	out, err := output(exec.CommandContext(ctx, path, "--version"))
	if err != nil {
		return absent(fmt.Sprintf("%s does not run: %v", path, err), givesNetns, "install the package passt")
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return ok(path + ", " + line)
}

// look finds a program in PATH, not in the working directory.
func (v *visit) look(name string) string {
	for _, dir := range filepath.SplitList(v.getenv("PATH")) {
		path := filepath.Join(dir, name)
		if fi, err := os.Stat(path); err == nil && filepath.IsAbs(dir) && fi.Mode().IsRegular() && fi.Mode().Perm()&0o111 != 0 {
			return path
		}
	}
	return ""
}

func tryTun(_ context.Context, v *visit) Result {
	const name = "/dev/net/tun"
	fd, err := unix.Open(v.path(name), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case err == nil:
		unix.Close(fd)
		return ok(name + " opens")
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return absent(name+": "+symbol(err), givesNetns, "sudo chmod 666 "+name)
	}
	return absent(name+": "+symbol(err), givesNetns, "sudo modprobe tun")
}

const installGuard = "install it once, as root: netjail guard --help tells how"

// tryGuard has the guard service confine a process.
func tryGuard(ctx context.Context, v *visit) Result {
	if !v.exists(client.Socket) {
		return absent("the guard service is not installed", givesNft, installGuard)
	}
	c, err := client.Dial(v.path(client.Socket))
	if err != nil {
		return absent(err.Error(), givesNft, installGuard)
	}
	defer c.Close()
	cmd := helper(ctx, "leaf")
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return absent("it was not tried: "+err.Error(), givesNft, "")
	}
	defer func() {
		in.Close()
		_ = cmd.Wait()
	}()
	pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		return absent("pidfd_open: "+symbol(err), givesNft, "")
	}
	defer unix.Close(pidfd)
	if _, err := c.Confine(pidfd); err != nil {
		return absent(err.Error(), givesNft, "see what the guard service logs: journalctl -u netjail-guard")
	}
	return ok("the guard service confines what it is asked to")
}

// tryCgroup looks where the guard service could make a control group for a program
// that is started here.
func tryCgroup(_ context.Context, v *visit) Result {
	mounts, _ := v.read("/proc/self/mountinfo")
	groups, _ := v.read("/proc/self/cgroup")
	mount, group := cgroupMount(mounts), cgroupOf(groups)
	if mount == "" || group == "" {
		return absent("cgroup v2 is not mounted", givesNft, "boot with systemd.unified_cgroup_hierarchy=1")
	}
	tree := cgroup.Tree{Mount: v.path(mount), Below: "/"}
	place, err := tree.Place(group, os.Getuid())
	if err != nil {
		return absent(err.Error(), givesNft, "start netjail as an ordinary user, from a session of yours")
	}
	return ok("a jail's group has its place below " + filepath.Join(mount, place))
}

// cgroupMount finds where cgroup v2 is mounted, see proc_pid_mountinfo(5).
func cgroupMount(mounts string) string {
	for line := range strings.Lines(mounts) {
		before, after, found := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if found && len(fields) >= 5 && strings.HasPrefix(after, "cgroup2 ") {
			return unescape(fields[4])
		}
	}
	return ""
}

// unescape reads the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// cgroupOf finds the group in cgroup v2, see cgroups(7).
func cgroupOf(groups string) string {
	for line := range strings.Lines(groups) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n")
		}
	}
	return ""
}
