package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// watchMemory follows the peak of a process's resident memory; the function
// returned ends that and tells it in bytes. The rusage of a child will not do
// here: Linux counts into it what the parent held at the fork, and this parent
// holds the proxies' buffers.
func watchMemory(pid int) func(*os.ProcessState) int64 {
	stop, done := make(chan struct{}), make(chan int64)
	go func() {
		var peak int64
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			// The high-water mark only rises, and is the program's own from exec on.
			// Between fork and exec the number is the parent's, so the newest counts.
			if now := highWater(pid); now > 0 {
				peak = now
			}
			select {
			case <-stop:
				done <- peak
				return
			case <-tick.C:
			}
		}
	}()
	return func(*os.ProcessState) int64 {
		close(stop)
		return <-done
	}
}

func highWater(pid int) int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

// roomy is a folder in memory, if there is one with room for the largest case:
// a disk's fsync says nothing about programs that copy.
func roomy() string {
	const folder, needed = "/dev/shm", 8 << 30
	var disk syscall.Statfs_t
	if syscall.Statfs(folder, &disk) != nil || int64(disk.Bavail)*disk.Bsize < needed {
		return ""
	}
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return ""
	}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kib); n == 1 && kib<<10 > 2*needed {
			return folder
		}
	}
	return ""
}

// load is the load average of the last minute.
func load() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(content), " ")
	return first
}
