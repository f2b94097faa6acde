package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
	"acrpromote/internal/explain"
	"acrpromote/internal/plan"
	"acrpromote/internal/receipt"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/vault"
)

// signer is a key that signs receipts.
type signer struct {
	named    string // as the input or the flow names it
	vaultKey        // without a vault for a file

	sign receipt.Signer // set once it is ready
	key  receipt.Key
	err  error // why it cannot sign
}

// keys returns the keys that sign receipts of the order, each once.
func (o *order) keys(c *agent.Config) []string {
	var keys []string
	add := func(key string) {
		if key != "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, w := range o.images {
		for _, r := range w.Receipts(o.topology()) {
			add(r.Key)
		}
		add(sealKey(c, w))
		if w.Action == plan.Recall && len(w.Routes) > 0 {
			add(w.Routes[0].Rules.ReceiptKey)
		}
	}
	return keys
}

// sealKey returns the key that signs the seal of an image: only the input says that
// there is one, because other pipelines seal than release.
func sealKey(c *agent.Config, w plan.Wanted) string {
	if w.Action != plan.Seal || c.ReceiptKey == "" || len(w.Routes) == 0 {
		return ""
	}
	return w.Routes[0].Rules.ReceiptKey
}

// prepareSigners opens the keys that sign receipts, without sending anything.
func prepareSigners(c *agent.Config, s *session.Session, o *order, result *collector) error {
	if flow := plan.UnsignedFlow(o.images); flow != "" {
		return usage("receiptKey", fmt.Errorf("flow %s requires receipts, but no key signs them", flow), "Set receiptKey, or name the key in the flow file.")
	}
	keys := o.keys(c)
	if c.ReceiptKey != "" && len(keys) == 0 && len(o.images) > 0 {
		result.warn("receiptKey is not used: nothing here requires an approval, and what nobody has approved has no receipt.")
	}
	wrong := &agent.UsageError{}
	for _, key := range keys {
		opened, err := openSigner(c, s, key)
		if err != nil {
			p := agent.Problem{Subject: "receiptKey"}
			p.Reason, p.Remedy = explain.Split(err, "Correct the key in receiptKey or in the flow file.")
			wrong.Problems = append(wrong.Problems, p)
			continue
		}
		o.signers = append(o.signers, opened)
	}
	return wrong.OrNil()
}

func openSigner(c *agent.Config, s *session.Session, named string) (*signer, error) {
	g := &signer{named: named}
	if !vault.IsURL(named) {
		private, err := vault.ReadPrivateKey(named)
		if err != nil {
			return nil, err
		}
		g.sign, err = receipt.LocalSigner(private)
		return g, err
	}
	reference, err := vault.ParseReference(named)
	if err != nil {
		return nil, err
	}
	g.host = reference.Host
	input := ""
	for _, candidate := range []struct {
		input      string
		connection *agent.Connection
	}{{"receiptConnection", c.Receipts}, {"targetSubscription", c.Target}, {"azureSubscription", c.Azure}} {
		if input = candidate.input; candidate.connection != nil {
			g.connection = candidate.connection
			break
		}
	}
	if g.connection == nil {
		input = "receiptConnection"
	}
	g.vault, err = s.Vault(reference, g.connection, input)
	return g, err
}

// ready makes sure that the key can sign now.
func (g *signer) ready(ctx context.Context) {
	if g.vault != nil {
		var key *vault.Key
		if key, g.err = g.vault.Ready(ctx, time.Now()); g.err != nil {
			return
		}
		g.sign = key
	}
	g.key, g.err = receipt.NewKey(g.sign.Public())
}

// readySigners makes sure that all keys can sign, before anything is written.
func (o *order) readySigners(ctx context.Context) {
	var group sync.WaitGroup
	for _, g := range o.signers {
		group.Go(func() {
			defer defect.Catch(ctx)
			g.ready(ctx)
		})
	}
	group.Wait()
}

// signer returns the signer with a key.
func (o *order) signer(key string) *signer {
	at := slices.IndexFunc(o.signers, func(g *signer) bool { return g.named == key })
	if at < 0 {
		return nil
	}
	return o.signers[at]
}

// signIn returns how the step signs in to the key's vault; ok is false for a file.
func (g *signer) signIn(names map[string]string) (in approval.SignIn, ok bool) {
	if g.vault == nil {
		return in, false
	}
	in = approval.SignIn{Host: g.host, Writes: true}
	if g.connection != nil {
		in.ConnectionID, in.Shared = g.connection.ID, g.connection.Scheme == agent.ManagedIdentity
		in.Connection = names[approval.GUID(in.ConnectionID)]
	}
	return in, true
}

// addSignerError adds to the result why a key cannot sign. A key that never can is a
// usage error.
func addSignerError(g *signer, result *collector) {
	if errors.Is(g.err, vault.ErrUnsuitable) {
		result.add(usage("receiptKey", g.err, "Use another key."))
		return
	}
	p := report.Problem{Side: report.ServiceSide, Subject: g.named}
	p.Reason, p.Remedy = explain.Split(g.err, "Run the step again. If the error persists, check the vault.")
	result.result.Errors = append(result.result.Errors, p)
}
