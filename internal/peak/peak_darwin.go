package peak

import (
	"os"
	"syscall"
)

// Watch: macOS tells the peak of a process's resident memory when it has
// ended, in bytes.
func Watch(int) func(*os.ProcessState) int64 {
	return func(ended *os.ProcessState) int64 {
		if usage, ok := ended.SysUsage().(*syscall.Rusage); ok {
			return usage.Maxrss
		}
		return 0
	}
}
