package run

import (
	"testing"

	"acrpromote/internal/receipt"
)

// TestNamesOf checks that a name is not repeated, and that nobody is shown without one.
func TestNamesOf(t *testing.T) {
	people := []receipt.Person{{Name: "Asha", ID: "1"}, {Name: "Asha"}, {}, {UniqueName: "ben@example.com"}, {Name: "Ben", UniqueName: "ben@example.com"}}
	if got, want := namesOf(people), "Asha, ben@example.com, Ben"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := namesOf(nil); got != "" {
		t.Errorf("nobody is %q", got)
	}
}
