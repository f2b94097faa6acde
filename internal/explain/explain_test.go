package explain

import (
	"errors"
	"fmt"
	"testing"
)

func TestText(t *testing.T) {
	for _, c := range []struct{ reason, remedy, want string }{
		{"it is locked", "Unlock it", "it is locked. Unlock it"},
		{"it said “no.”.", "Ask again", "it said “no.”. Ask again"},
		{"it is locked.", "", "it is locked."},
		{"is it locked?", "Unlock it", "is it locked? Unlock it"},
		{"", "", ""},
	} {
		if got := Text(c.reason, c.remedy); got != c.want {
			t.Errorf("Text(%q, %q) = %q, want %q", c.reason, c.remedy, got, c.want)
		}
	}
}

// explained is an error with a reason and a remedy.
type explained [2]string

func (e explained) Error() string                 { return Text(e[0], e[1]) }
func (e explained) Explanation() (string, string) { return e[0], e[1] }

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		err            error
		reason, remedy string
	}{
		{errors.New("it is locked"), "it is locked", "Try again."},
		{explained{"it is locked", "Unlock it."}, "it is locked", "Unlock it."},
		{explained{"it is locked", ""}, "it is locked", "Try again."},
		{fmt.Errorf("shop/cart: %w", explained{"it is locked", "Unlock it."}), "shop/cart: it is locked", "Unlock it."},
		{fmt.Errorf("%w, twice", explained{"it is locked", "Unlock it."}), "it is locked", "Unlock it."},
	} {
		if reason, remedy := Split(c.err, "Try again."); reason != c.reason || remedy != c.remedy {
			t.Errorf("Split(%q) = %q, %q; want %q, %q", c.err, reason, remedy, c.reason, c.remedy)
		}
	}
}
