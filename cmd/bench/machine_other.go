//go:build !linux

package main

// roomy is a folder in memory with room for the largest case: "" is none.
func roomy() string { return "" }

// load is not told here.
func load() string { return "" }
