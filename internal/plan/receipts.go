package plan

import (
	"slices"

	"acrpromote/internal/topology"
)

// Receipt says which receipts of an image one signed statement of its promotion
// serves: those in registries for which the same rules apply, and the same is left
// out.
type Receipt struct {
	Key      string // that signs
	Required bool   // no tag appears without its receipt
	Redact   []string
	Route    Route // the rules, of one of the targets
	Targets  []int // positions in Wanted.Targets
	// Named has the targets that the statement names: all that go by the same rules.
	Named  []int
	Source bool // there is a receipt at the source too
}

// defaultRedaction is what receipts leave out without a flow file: which registry is
// more trusted is then unknown.
var defaultRedaction = []topology.Redaction{"comments", "uniqueNames"}

// Receipts returns the receipts of an image. Targets that require no approval, or for
// which no key is named, have none. file is nil without a flow file. What a receipt at
// the source says is always complete.
func (w Wanted) Receipts(file *topology.File) []Receipt {
	if !Approved(w.Action) {
		return nil
	}
	var receipts []Receipt
	for i, route := range w.Routes {
		if i >= len(w.Targets) || !route.signed() {
			continue
		}
		redact := w.redaction(file, i)
		at := slices.IndexFunc(receipts, func(r Receipt) bool { return r.Route.sameReceipt(route) && slices.Equal(r.Redact, redact) })
		if at < 0 {
			at = len(receipts)
			receipts = append(receipts, Receipt{Key: route.Rules.ReceiptKey, Redact: redact, Route: route})
		}
		receipts[at].Targets = append(receipts[at].Targets, i)
		receipts[at].Required = receipts[at].Required || route.Rules.ReceiptRequired
	}
	if w.SignSource && len(receipts) > 0 {
		at := slices.IndexFunc(receipts, Receipt.Complete)
		if at < 0 {
			first := receipts[0]
			at = len(receipts)
			receipts = append(receipts, Receipt{Key: first.Key, Required: first.Required, Route: first.Route})
		}
		receipts[at].Source = true
	}
	for i := range receipts {
		for j, route := range w.Routes[:min(len(w.Routes), len(w.Targets))] {
			if route.sameReceipt(receipts[i].Route) {
				receipts[i].Named = append(receipts[i].Named, j)
			}
		}
	}
	return receipts
}

// Complete reports whether the statement leaves nothing out.
func (r Receipt) Complete() bool { return len(r.Redact) == 0 }

// signed reports whether what goes this way has a receipt.
func (r Route) signed() bool { return r.Rules.ReceiptKey != "" && r.Rules.Kind != topology.None }

// sameReceipt reports whether one statement can say under which rules an image goes
// both ways.
func (r Route) sameReceipt(other Route) bool {
	return r.Flow == other.Flow && r.Rules.ReceiptKey == other.Rules.ReceiptKey && r.Rules.SameApproval(other.Rules)
}

// redaction returns what receipts at a target leave out, sorted.
func (w Wanted) redaction(file *topology.File, target int) []string {
	leave := defaultRedaction
	if flow := w.Routes[target].Flow; file != nil && flow != nil {
		leave = nil
		if at, known := file.ByHost(w.Targets[target].Registry); known {
			leave = file.Redaction(flow, at.Name)
		}
	}
	var names []string
	for _, name := range leave {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}

// Redaction returns what receipts at any of the targets leave out. What goes along with
// the image must not say more.
func (w Wanted) Redaction(file *topology.File) []string {
	var names []string
	for i := range w.Targets {
		if i < len(w.Routes) {
			names = append(names, w.redaction(file, i)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// signsSource reports whether a receipt is attached at the source.
func (w Wanted) signsSource() bool {
	return w.SignSource && Approved(w.Action) && slices.ContainsFunc(w.Routes, Route.signed)
}

// UnsignedFlow returns the name of a flow that requires receipts although neither it
// nor an input names a key that signs them; "" if there is none.
func UnsignedFlow(images []Wanted) string {
	for _, w := range images {
		if !Approved(w.Action) {
			continue
		}
		for _, route := range w.Routes {
			if route.Rules.ReceiptRequired && route.Rules.ReceiptKey == "" && route.Flow != nil {
				return route.Flow.Name
			}
		}
	}
	return ""
}
