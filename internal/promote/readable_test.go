package promote

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"acrpromote/internal/recall"
	"acrpromote/internal/ref"
)

// fakeReads has one manifest. It shows a change only at the look with the number late,
// from 1; 0 is at once.
type fakeReads struct {
	sight    recall.Sight
	late     int
	looks    int
	writes   int
	err      error
	readable bool
}

func (f *fakeReads) See(context.Context, string, string) (recall.Sight, error) {
	if f.looks++; f.looks >= f.late && f.sight.Known {
		f.sight.Enabled = f.readable
	}
	return f.sight, nil
}

func (f *fakeReads) Set(_ context.Context, _, _ string, readable bool) error {
	if f.writes++; f.err == nil {
		f.readable = readable
	}
	return f.err
}

func TestSetReadable(t *testing.T) { synctest.Test(t, setReadable) }

func setReadable(t *testing.T) {
	shown := recall.Sight{Attributes: recall.Shown, Known: true, Enabled: true}
	hidden := recall.Sight{Attributes: recall.Unknown, Manifest: recall.Unknown}
	broken := errors.New("broken")
	for _, c := range []struct {
		name     string
		reads    fakeReads
		seen     recall.State
		readable bool
		blind    bool
		state    recall.State
		writes   int
		fails    bool
	}{
		{"withdrawn", fakeReads{sight: shown}, recall.Readable, false, false, recall.Disabled, 1, false},
		{"withdrawn before", fakeReads{sight: shown}, recall.Disabled, false, false, recall.Disabled, 0, false},
		{"shown late", fakeReads{sight: shown, late: 3}, recall.Readable, false, false, recall.Disabled, 1, false},
		{"never shown", fakeReads{sight: shown, late: 100}, recall.Readable, false, false, recall.Readable, 1, true},
		{"hidden afterwards", fakeReads{sight: hidden}, recall.Readable, false, false, recall.Disabled, 1, false},
		{"still hidden after a lift", fakeReads{sight: hidden}, recall.Hidden, true, false, recall.Hidden, 1, true},
		{"lifted", fakeReads{sight: shown}, recall.Disabled, true, false, recall.Readable, 1, false},
		{"not there", fakeReads{sight: hidden, err: &kind{ErrNotFound}}, recall.Absent, false, true, recall.Absent, 1, false},
		{"not there, and not looked for", fakeReads{sight: hidden}, recall.Absent, false, false, recall.Absent, 0, false},
		{"refused", fakeReads{sight: shown, err: broken}, recall.Readable, false, false, recall.Readable, 1, true},
		{"no attribute", fakeReads{}, recall.Unsupported, false, true, recall.Unsupported, 0, false},
	} {
		c.reads.readable = true
		state, changed, err := SetReadable(t.Context(), &c.reads, ref.Reference{Registry: "contosodev.azurecr.io", Repository: "shop/cart", Digest: root}, c.seen, c.readable, c.blind)
		if state != c.state || c.reads.writes != c.writes || (err != nil) != c.fails || changed && c.writes == 0 {
			t.Errorf("%s: %s, changed %v, %v, %d writes; want %s, %d writes", c.name, state, changed, err, c.reads.writes, c.state, c.writes)
		}
	}
}

// kind is an error of a kind of this package.
type kind struct{ error }

func (k *kind) Is(target error) bool { return target == k.error }

// fixedReads shows a manifest always as sight has it, and answers each change with err.
type fixedReads struct {
	sight recall.Sight
	err   error
}

func (r fixedReads) See(context.Context, string, string) (recall.Sight, error) { return r.sight, nil }
func (r fixedReads) Set(context.Context, string, string, bool) error           { return r.err }

// TestUnknownToBeSet: a registry that does not find a manifest to change its attributes
// has not withdrawn it if it still shows it.
func TestUnknownToBeSet(t *testing.T) {
	at := ref.Reference{Registry: "contosodev.azurecr.io", Repository: "shop/cart", Digest: ref.DigestOf([]byte("image"))}
	for _, c := range []struct {
		name     string
		seen     recall.State
		sight    recall.Sight
		readable bool
		want     recall.State
		fails    bool
	}{
		{"it is gone", recall.Readable, recall.Sight{Attributes: recall.Unknown, Manifest: recall.Unknown}, false, recall.Absent, false},
		{"it is not shown", recall.Hidden, recall.Sight{Attributes: recall.Unknown, Manifest: recall.Refused}, false, recall.Absent, false},
		{"clients can pull it", recall.Readable, recall.Sight{Attributes: recall.Unknown, Manifest: recall.Shown}, false, recall.Readable, true},
		{"its attributes are shown", recall.Readable, recall.Sight{Attributes: recall.Shown, Known: true, Enabled: true}, false, recall.Readable, true},
		{"nothing is there to lift", recall.Absent, recall.Sight{Attributes: recall.Unknown, Manifest: recall.Unknown}, true, recall.Absent, false},
	} {
		state, changed, err := SetReadable(t.Context(), fixedReads{c.sight, &kind{ErrNotFound}}, at, c.seen, c.readable, true)
		if state != c.want || changed || (err != nil) != c.fails {
			t.Errorf("%s: %s, changed %v, %v", c.name, state, changed, err)
		}
	}
}
