package main_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// namespaceTest is the variable that names the test of a process in a network
// namespace of its own.
const namespaceTest = "ACRPROMOTE_TEST_NAMESPACE"

// namespaceWithoutRights is printed in a namespace in which the process may not
// configure the network, as under some AppArmor profiles.
const namespaceWithoutRights = "no rights in the network namespace:"

// inNamespace runs the test in a process with a network of its own, whose loopback
// interface has the address of the metadata service. So the released program, which
// knows that address only, reaches a simulated one. It returns false in the process
// that only starts the other.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceTest) == t.Name() {
		if err := addLoopbackAddress([4]byte{169, 254, 169, 254}); errors.Is(err, syscall.EPERM) {
			t.Fatal(namespaceWithoutRights, err)
		} else if err != nil {
			t.Fatal(err)
		}
		return true
	}
	t.Parallel()
	if err := noteSources(); err != nil {
		t.Fatal(err)
	}
	run := func(user bool) ([]byte, error) {
		command := exec.Command(os.Args[0], "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", fmt.Sprintf("-test.v=%v", testing.Verbose()), "-test.timeout=5m")
		command.Env = append(os.Environ(), namespaceTest+"="+t.Name(), "ACRPROMOTE_TEST_PROGRAM="+binary, "ACRPROMOTE_TEST_PLAIN="+plainBinary)
		command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if user {
			command.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
			command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		}
		return command.CombinedOutput()
	}
	output, err := run(os.Geteuid() != 0)
	if errors.Is(err, syscall.EPERM) && os.Geteuid() == 0 {
		output, err = run(true) // root in a container
	}
	denied := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL)
	if denied || strings.Contains(string(output), namespaceWithoutRights) {
		if os.Getenv("REQUIRE_NAMESPACES") == "1" {
			t.Fatalf("this machine permits no network namespace, which the tests of managed identities need: %v", err)
		}
		t.Skipf("this machine permits no network namespace: %v", err)
	}
	if err != nil || !strings.Contains(string(output), "PASS") {
		t.Errorf("%v\n%s", err, output)
	} else if testing.Verbose() {
		t.Logf("%s", output)
	}
	return false
}

// addLoopbackAddress brings the loopback interface up and gives it a second address.
func addLoopbackAddress(address [4]byte) error {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(socket)
	// struct ifreq: a name of 16 bytes, then flags or an address.
	request := func(name string, call uintptr, content ...byte) error {
		var ifreq [40]byte
		copy(ifreq[:16], name)
		copy(ifreq[16:], content)
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(socket), call, uintptr(unsafe.Pointer(&ifreq))); errno != 0 {
			return fmt.Errorf("setting up %s: %w", name, errno)
		}
		return nil
	}
	if err := request("lo", syscall.SIOCSIFFLAGS, syscall.IFF_UP|syscall.IFF_LOOPBACK, 0); err != nil {
		return err
	}
	return request("lo:1", syscall.SIOCSIFADDR, syscall.AF_INET, 0, 0, 0, address[0], address[1], address[2], address[3])
}

// metadataListener listens where the metadata service is.
func metadataListener(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp4", "169.254.169.254:80")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}
