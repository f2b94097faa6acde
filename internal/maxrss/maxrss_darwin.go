package maxrss

import (
	"os"
	"syscall"
)

// Watch returns a function that reads the peak resident memory of an ended
// process, in bytes, from what macOS reports of it.
func Watch(int) func(*os.ProcessState) int64 {
	return func(ended *os.ProcessState) int64 {
		if usage, ok := ended.SysUsage().(*syscall.Rusage); ok {
			return usage.Maxrss
		}
		return 0
	}
}
