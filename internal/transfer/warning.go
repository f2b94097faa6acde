package transfer

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// maxWarnings bounds the different warnings about one registry.
const maxWarnings = 100

// warnings are what a registry does that nothing fails for, but that people have to
// know. The zero value has none.
type warnings struct {
	mu   sync.Mutex
	text map[string]bool
}

func (w *warnings) add(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.text == nil {
		w.text = make(map[string]bool)
	}
	if len(w.text) < maxWarnings {
		w.text[text] = true
	}
}

// warn adds a warning, once.
func (r *Registry) warn(format string, arguments ...any) {
	r.warnings.add(r.secrets.Bounded(fmt.Sprintf(format, arguments...), maxExplanation))
}

// Warnings returns the warnings about the registry so far, sorted.
func (r *Registry) Warnings() []string {
	r.warnings.mu.Lock()
	defer r.warnings.mu.Unlock()
	return slices.Sorted(maps.Keys(r.warnings.text))
}
