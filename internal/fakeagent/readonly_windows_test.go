package fakeagent_test

import "testing"

// readOnly does nothing: Windows knows no executable bit, and the launcher
// changes nothing there.
func readOnly(*testing.T, *testEnv) {}
