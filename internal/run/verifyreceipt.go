package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
	"acrpromote/internal/explain"
	"acrpromote/internal/plan"
	"acrpromote/internal/recall"
	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/regularfile"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/topology"
	"acrpromote/internal/vault"
)

// keyFileLimit limits the size of a file with a public key.
const keyFileLimit = 64 << 10

// verifyReceipt decides whether the image has a receipt that meets the expectations.
// It asks the image's own registry, and the vaults of the keys.
func verifyReceipt(ctx context.Context, c *agent.Config, to *reporter, result *collector) (*session.Session, *order) {
	s, err := open(c, to, result)
	if err != nil {
		result.add(err)
		return nil, nil
	}
	wrong := &mistakes{}
	source := wrong.source(c.Source)
	expected := wrong.expectations(c)
	keys := wrong.keys(c, s, c.ReceiptKeys)
	o := &order{action: c.Action, images: []plan.Wanted{{Action: c.Action, Source: source}}, verifiers: keys.vaults}
	if source.Registry != "" {
		wrong.join(signInToRead(s, source))
	}
	if err := wrong.orNil(); err != nil {
		result.add(err)
		return s, nil
	}
	at, err := s.Registry(source.Registry)
	if err != nil {
		result.add(err)
		return s, o
	}

	var group sync.WaitGroup
	var vaultErr error
	group.Go(func() {
		defer defect.Catch(ctx)
		vaultErr = keys.fetch(ctx)
	})
	image, err := at.Data.Resolve(ctx, source.Repository, cmp.Or(source.Tag, source.Digest))
	group.Wait()
	result.result.Images = []report.Image{{Source: source.String(), Digest: image.Digest}}
	var found []receipt.Found
	if err == nil && vaultErr == nil {
		var notes []string
		found, notes, err = openReceipts(ctx, at, source.Repository, image.Digest, func(mediaType string, content []byte) error {
			_, err := receipt.Open(mediaType, content, image.Digest, keys.all)
			return err
		})
		for _, note := range notes {
			result.warn(note)
		}
	}
	var recalled recall.Verdict
	var recallErr error
	if image.Digest != "" && vaultErr == nil {
		recalled, recallErr = recallOf(ctx, at, source.Repository, image.Digest, keys.all, result)
	}
	switch {
	case ctx.Err() != nil:
		result.unexecuted = true
		return s, o
	case errors.Is(vaultErr, vault.ErrUnsuitable):
		result.add(usage("receiptKeys", vaultErr, "Name another key."))
		return s, o
	case vaultErr != nil:
		result.result.Errors = append(result.result.Errors, vaultProblem(vaultErr))
	}
	verdict := receipt.Judge(receipt.Image{Digest: image.Digest, Resources: resourcesOf(source, image.Digest)}, found, keys.all, expected, time.Now())
	refused := recall.Refuse(source.String(), recalled, err != nil && readsDisabled(ctx, at, source, err))
	if recallErr != nil && len(refused) == 0 {
		result.result.Errors = append(result.result.Errors, problem(report.SourceSide, recallErr))
		return s, o
	}
	if err != nil {
		if len(refused) > 0 {
			result.result.Refusals = append(result.result.Refusals, refused...)
			return s, o
		}
		unread := problem(report.SourceSide, err)
		if !verdict.Met {
			result.result.Errors = append(result.result.Errors, unread)
			return s, o
		}
		result.warn("Not every receipt could be read: " + unread.Reason)
	}
	if vaultErr != nil {
		return s, o
	}
	for _, note := range verdict.Notes {
		result.warn(note)
	}
	result.result.Refusals = slices.Concat(result.result.Refusals, refused, verdict.Refusals)
	result.result.ReceiptVerdict = receiptVerdict(verdict)
	for _, r := range verdict.Valid {
		for i, kind := range []string{receipt.SummaryType, receipt.PromotionType} {
			result.result.Receipts = append(result.result.Receipts, report.Receipt{
				Registry: source.Registry, Repository: source.Repository, Digest: r.Manifests[i], Subject: image.Digest, PredicateType: kind, KeyID: r.Key.ID(), State: report.ReceiptPresent,
			})
		}
	}
	return s, o
}

// open opens the session of a run, and adds how it reaches the network to the result.
func open(c *agent.Config, to *reporter, result *collector) (*session.Session, error) {
	s, err := session.Open(c, to.watch())
	if err != nil {
		return nil, err
	}
	var claimed bool
	if result.result.Proxy, result.result.CA, claimed = s.Transport(); claimed {
		result.result.Transport = "claimed"
	}
	return s, nil
}

// signInToRead prepares the sign-in to an image's registry, to read the image.
func signInToRead(s *session.Session, image ref.Reference) error {
	if err := s.SignIn(image.Registry, false, map[string][]string{image.Repository: {"pull"}}); err != nil {
		return credentialError(image.Registry, err)
	}
	return nil
}

// resourcesOf returns the resourceUris of an image: by the host that names its
// registry, and by the registry's login server.
func resourcesOf(image ref.Reference, digest string) []string {
	var all []string
	for _, host := range []string{image.Registry, ref.LoginServer(image.Registry)} {
		resource := receipt.Place{Registry: host, Repository: image.Repository}.Resource(digest)
		if !slices.Contains(all, resource) {
			all = append(all, resource)
		}
	}
	return all
}

// vaultProblem is the failure of a vault to show a public key.
func vaultProblem(err error) report.Problem {
	reason, remedy := explain.Split(err, "Run the step again. If the error persists, fix its cause.")
	return report.Problem{Side: report.ServiceSide, Subject: "receiptKeys", Reason: reason, Remedy: remedy}
}

// mistakes collects usage errors.
type mistakes struct{ agent.UsageError }

func (m *mistakes) add(input string, err error, remedy string) {
	reason, remedy := explain.Split(err, remedy)
	m.Problems = append(m.Problems, agent.Problem{Subject: input, Reason: reason, Remedy: remedy})
}

// join adds the mistakes of a usage error.
func (m *mistakes) join(err error) {
	if wrong, ok := errors.AsType[*agent.UsageError](err); ok {
		m.Problems = append(m.Problems, wrong.Problems...)
	}
}

func (m *mistakes) orNil() error { return m.UsageError.OrNil() }

func (m *mistakes) source(text string) ref.Reference {
	source, err := ref.ParseSource(text)
	if err != nil {
		m.add("source", err, "Correct the input source.")
	}
	return source
}

// expectations returns what the inputs expect of a receipt.
func (m *mistakes) expectations(c *agent.Config) receipt.Expectations {
	e := receipt.Expectations{
		Project: c.Project, Rules: c.Rules == "verified", Environment: c.Environment,
		MinApprovers: c.MinApprovers.Or(0), MaxAge: c.ReceiptMaxAge.Value,
	}
	if c.From != "" {
		host, repository, named := strings.Cut(c.From, "/")
		registry, err := ref.ParseHost(host)
		switch {
		case err != nil:
			m.add("from", fmt.Errorf("%q is not a valid registry host", host), "Write host or host/repository.")
		case named && !ref.IsRepository(repository):
			m.add("from", fmt.Errorf("%q is not a valid repository", repository), "Write host or host/repository, without a tag or digest.")
		}
		e.From = receipt.Place{Registry: registry, Repository: repository}
	}
	for _, hash := range c.FlowHashes {
		digits := strings.ToLower(hash)
		if !ref.IsDigest(ref.PrefixDigest(digits)) {
			m.add("flowHashes", fmt.Errorf("%q is not a SHA-256 hash", hash), "Write 64 hexadecimal digits, as sha256sum prints them.")
		}
		e.FlowHashes = append(e.FlowHashes, digits)
	}
	for _, text := range c.Branches {
		branch, err := topology.ParseBranch(text)
		if err != nil {
			m.add("branches", err, "Write full refs, such as refs/heads/main.")
		}
		e.Branches = append(e.Branches, branch)
	}
	return e
}

// publicKeys are the keys whose signatures count: those of files, and those that have
// to be read from vaults.
type publicKeys struct {
	all    []receipt.Key
	vaults []vaultKey
}

// vaultKey is a key in a vault, and the connection that signs in there; nil for the
// user's own identity.
type vaultKey struct {
	vault      *vault.Vault
	host       string
	connection *agent.Connection
}

// identity returns how the step signs in to the vault, for the result.
func (k vaultKey) identity(names map[string]string) report.Identity {
	identity := report.Identity{Side: report.ServiceSide, Host: k.host}
	if k.connection != nil {
		identity.ID, identity.ClientID = k.connection.ID, k.connection.ClientID()
		identity.Connection = cmp.Or(names[approval.GUID(identity.ID)], identity.ID)
	}
	return identity
}

// keys reads the key files and prepares access to the vaults of the named keys, without
// sending anything.
func (m *mistakes) keys(c *agent.Config, s *session.Session, names []string) *publicKeys {
	const input = "receiptKeys"
	found := &publicKeys{}
	connection, from := c.Receipts, "receiptConnection"
	if connection == nil {
		connection, from = c.Azure, "azureSubscription"
	}
	pasted := slices.ContainsFunc(names, func(line string) bool { return strings.Contains(line, "-----") })
	hidden := false
	for _, name := range names {
		if vault.IsURL(name) {
			reference, err := vault.ParseReference(name)
			if err != nil {
				m.add(input, err, "Name a key in Key Vault, or the path of a PEM file with a public key.")
				continue
			}
			v, err := s.Vault(reference, connection, from)
			if err != nil {
				m.join(credentialError(reference.Host, err))
				continue
			}
			found.vaults = append(found.vaults, vaultKey{v, reference.Host, connection})
			continue
		}
		content, err := regularfile.Read(name, keyFileLimit)
		if err != nil && (pasted || vault.IsKey(name)) {
			if !hidden {
				m.add(input, errors.New("a key itself is given instead of the path of its file"), "Store the public key in a file, and name its path.")
			}
			hidden = true
			continue
		}
		if err != nil {
			m.add(input, fmt.Errorf("%s cannot be read: %s", name, regularfile.ErrorText(err)), "Correct the path. A secure file's is the output secureFilePath of DownloadSecureFile@1.")
			continue
		}
		key, err := receipt.ParseKey(content)
		if err != nil {
			m.add(input, fmt.Errorf("%s: %w", name, err), "Save the public key: openssl pkey -in key.pem -pubout -out receipts.pem, or az keyvault key download --encoding PEM.")
			continue
		}
		found.all = append(found.all, key)
	}
	return found
}

// fetch reads the keys in vaults.
func (k *publicKeys) fetch(ctx context.Context) error {
	for _, v := range k.vaults {
		public, err := v.vault.PublicKey(ctx)
		if err != nil {
			return err
		}
		key, err := receipt.NewKey(public)
		if err != nil {
			return err
		}
		k.all = append(k.all, key)
	}
	return nil
}

// receiptVerdict returns a verdict for the result.
func receiptVerdict(v receipt.Verdict) *report.ReceiptVerdict {
	found := &report.ReceiptVerdict{Met: v.Met, Valid: len(v.Valid)}
	if v.Receipt != nil {
		r := receiptFacts(*v.Receipt)
		found.Receipt = &r
	}
	for _, seal := range v.Seals {
		found.Seals = append(found.Seals, report.SignedSeal{
			Time: formatTime(seal.Time), Image: receipt.Place(seal.Image).Resource(seal.Digest), Record: seal.Record, Run: runFacts(seal.Run),
		})
	}
	return found
}

// namesOf returns each name once. A server names the same person in several places, and
// not in all of them by name.
func namesOf(people []receipt.Person) string {
	var names []string
	for _, person := range people {
		if name := cmp.Or(person.Name, person.UniqueName); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// receiptFacts returns what a receipt shows, for the result.
func receiptFacts(r receipt.Receipt) report.ReceiptContent {
	p := r.Promotion
	facts := report.ReceiptContent{
		KeyID: r.Key.ID(), Time: formatTime(r.Summary.TimeVerified), Manifests: slices.DeleteFunc(r.Manifests[:], func(d string) bool { return d == "" }),
		Resource: r.Summary.ResourceURI, Levels: r.Summary.VerifiedLevels, Tool: p.Tool, Action: p.Action,
		From: reference(p.From).String(), Run: runFacts(p.Run), RulesVerified: p.RulesVerified,
		ApprovalKind: p.Approval.Kind, Approvers: p.Approval.Approvers,
	}
	for _, to := range p.To {
		facts.To = append(facts.To, reference(to).String())
	}
	facts.Run.RequestedBy = namesOf(p.Requesters)
	if len(p.Requesters) > 0 {
		facts.Run.RequestedByID, facts.Run.RequestedByUniqueName = p.Requesters[0].ID, p.Requesters[0].UniqueName
	}
	for _, resource := range p.Approval.Resources {
		facts.Resources = append(facts.Resources, resourceWords(resource))
	}
	for _, g := range p.Approval.Given {
		facts.Given = append(facts.Given, report.SignedApproval{
			Name: g.Approver.Name, UniqueName: g.Approver.UniqueName, ID: g.Approver.ID, At: formatTime(g.Time), Comment: g.Comment, Resource: resourceWords(g.Resource),
		})
	}
	for _, check := range p.Approval.Checks {
		facts.Checks = append(facts.Checks, check.Definition)
	}
	if p.Flow != nil {
		facts.Flow = &report.FlowFile{Repository: p.Flow.Repository, Ref: p.Flow.Ref, Commit: p.Flow.Commit, Path: p.Flow.Path, SHA256: p.Flow.SHA256}
	}
	for _, left := range p.Redacted {
		facts.Redacted = append(facts.Redacted, string(left))
	}
	return facts
}

func reference(at receipt.Place) ref.Reference {
	return ref.Reference{Registry: at.Registry, Repository: at.Repository, Tag: at.Tag}
}

// resourceWords returns the type of a resource with its name or, without one, its ID.
func resourceWords(r receipt.Resource) string {
	if r.Name == "" {
		return r.Type + " #" + r.ID
	}
	return r.Type + " " + r.Name
}

func runFacts(r receipt.Run) report.Run {
	return report.Run{
		Kind: r.Kind, Organization: r.Organization, Project: r.Project, Pipeline: report.Pipeline{ID: r.Pipeline.ID, Name: r.Pipeline.Name},
		ID: r.ID, URL: r.URL, Stage: r.Stage, Attempt: r.Attempt, Branch: r.Branch, Commit: r.Commit,
	}
}
