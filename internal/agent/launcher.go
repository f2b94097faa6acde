package agent

import (
	"bufio"
	"io"
)

// launcherGreeting is what the task's launcher writes to the program's standard
// input, and nothing after it: the stream ends when the launcher is gone.
const launcherGreeting = "acrpromote-launcher\n"

// WatchLauncher calls gone when the launcher that started this process is
// gone. A node that is killed cannot tell its child, and in a container job no
// signal arrives; without this, copying would go on with nobody to stop it.
// Input that does not begin with the launcher's greeting is not watched: at
// another's hands the end of standard input means nothing. It returns at the
// end of the input, and is meant for a goroutine of its own.
func WatchLauncher(input io.Reader, gone func()) {
	reader := bufio.NewReaderSize(input, 64)
	greeting := make([]byte, len(launcherGreeting))
	if _, err := io.ReadFull(reader, greeting); err != nil || string(greeting) != launcherGreeting {
		return
	}
	_, _ = io.Copy(io.Discard, reader)
	gone()
}
