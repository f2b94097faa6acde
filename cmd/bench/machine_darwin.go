package main

import (
	"os"
	"syscall"
)

// watchMemory: macOS tells the peak of a process's resident memory when it has
// ended, in bytes.
func watchMemory(int) func(*os.ProcessState) int64 {
	return func(ended *os.ProcessState) int64 {
		if usage, ok := ended.SysUsage().(*syscall.Rusage); ok {
			return usage.Maxrss
		}
		return 0
	}
}

// roomy is a folder in memory with room for the largest case: "" is none.
func roomy() string { return "" }

// load is not told here.
func load() string { return "" }
