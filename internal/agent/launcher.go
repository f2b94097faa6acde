package agent

import (
	"bufio"
	"io"
)

// launcherGreeting is what the task's launcher writes to the program's standard
// input. It writes nothing else, and the stream ends when the launcher exits.
const launcherGreeting = "acrpromote-launcher\n"

// WatchLauncher calls gone when the launcher that started this process has
// exited. A node process that is killed cannot notify its child, and in a
// container job no signal arrives; without this, copying would continue. Input
// that does not begin with the launcher's greeting is not watched, because its
// end means nothing. WatchLauncher returns at the end of the input; run it in
// its own goroutine.
func WatchLauncher(input io.Reader, gone func()) {
	reader := bufio.NewReaderSize(input, 64)
	greeting := make([]byte, len(launcherGreeting))
	if _, err := io.ReadFull(reader, greeting); err != nil || string(greeting) != launcherGreeting {
		return
	}
	_, _ = io.Copy(io.Discard, reader)
	gone()
}
