// Package maxrss measures the peak resident memory of another process, for the
// demo and for benchmarks; it is 0 where the system does not report it.
package maxrss

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"time"
)

// Watch follows the peak resident memory of a process. The returned function
// ends that and returns the peak in bytes; it is called once the process has
// ended. The rusage of a child will not do here: Linux counts into it what the
// parent held at the fork, and the parents here hold whole registries.
func Watch(pid int) func(*os.ProcessState) int64 {
	stop, done := make(chan struct{}), make(chan int64)
	go func() {
		var peak int64
		tick := time.NewTicker(2 * time.Millisecond)
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
