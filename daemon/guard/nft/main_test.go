package nft

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// inside is set in the network namespace of the tests' own.
const inside = "NETJAIL_TEST_NETNS"

// TestMain has all tests in a network namespace of their own. That needs root:
// an ordinary user has no part in this package.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		fmt.Println("nft: tested as root only")
		os.Exit(map[bool]int{true: 1}[os.Getenv("NETJAIL_TEST_REQUIRE") == "1"])
	}
	if os.Getenv(inside) == "" {
		os.Exit(again())
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		fmt.Printf("ip link set lo up: %v %s\n", err, out)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// again runs this test binary in a new network namespace.
func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// ruleset is what nft(8) says that the kernel has.
func ruleset(t testing.TB, args ...string) string {
	t.Helper()
	if len(args) == 0 {
		args = []string{"list", "ruleset"}
	}
	out, err := exec.Command("nft", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %v: %v %s", args, err, out)
	}
	return string(out)
}
