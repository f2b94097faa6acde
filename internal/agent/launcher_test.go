package agent

import (
	"io"
	"strings"
	"testing"
)

func TestWatchLauncher(t *testing.T) {
	for input, want := range map[string]bool{
		launcherGreeting:          true,
		launcherGreeting + "more": true,
		"":                        false,
		"acrpromote-launcher":     false,
		"Acrpromote-launcher\n":   false,
		strings.Repeat("x", 1000): false,
		"\n" + launcherGreeting:   false,
	} {
		gone := false
		WatchLauncher(strings.NewReader(input), func() { gone = true })
		if gone != want {
			t.Errorf("input %q: gone %v, want %v", input, gone, want)
		}
	}
}

// TestWatchLauncherWaits checks that the launcher counts as running while it
// keeps the stream open.
func TestWatchLauncherWaits(t *testing.T) {
	reader, writer := io.Pipe()
	gone := make(chan bool, 1)
	done := make(chan bool)
	go func() { WatchLauncher(reader, func() { gone <- true }); close(done) }()
	if _, err := io.WriteString(writer, launcherGreeting); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
		t.Fatal("gone while the stream is open")
	default:
	}
	writer.Close()
	<-done
	if len(gone) != 1 {
		t.Fatal("the end of the stream was not noticed")
	}
}
