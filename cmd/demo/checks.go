package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// check is one claim of the story, and what speaks against it.
type check struct{ claim, failure string }

// end checks every claim and reports whether all of them hold.
func (s *story) end(took time.Duration) bool {
	s.screen.line("")
	s.screen.line(s.screen.paint(bold, "Checked against the state of the registries and the logs of requests and proxies"))
	failed := 0
	checks := s.checks()
	for _, c := range checks {
		s.screen.check(c)
		if c.failure != "" {
			failed++
		}
	}
	if failed > 0 {
		s.screen.line(s.screen.paint(red, fmt.Sprintf("%d of %d claims do not hold.", failed, len(checks))))
		return false
	}
	s.screen.line(fmt.Sprintf("All %d claims hold. %s, %d requests.", len(checks), seconds(took), len(s.env.cloud.Requests())))
	return true
}

// checks looks anew at everything that was told. What the program said of
// itself counts only where it is compared with what others saw.
func (s *story) checks() []check {
	var list []check
	add := func(claim string, fails func() error) {
		c := check{claim: claim}
		if err := fails(); err != nil {
			c.failure = err.Error()
		}
		list = append(list, c)
	}
	add("PROD, payments and web have the digest that was built, under the same tag", s.digestsEqual)
	add("every manifest and blob in payments and web is byte for byte what was built", s.bytesEqual)
	add("SBOM, signature and seal record are attached in both, as in PROD", s.referrersArrived)
	add("the signature verifies in both, and the SBOM lists the programs in the image", s.attachmentsTrue)
	add("the approval code is the first 120 bits of the digest", s.codeIsDigest)
	add("in PROD the tag is locked against writes and deletes, the manifests against deletes", s.locked)
	add("the order was: sealed, approved, first byte pushed down", s.inOrder)
	add("the plan wrote nothing, and found nothing open but the approval, with this code", s.plannedRight)
	for _, a := range s.attempts {
		if a.rules == "" {
			add(a.what+" wrote nothing and copied no blob", func() error { return s.movedNothing(a) })
			continue
		}
		add("refused, and nothing was written: "+a.what, func() error { return s.refusedUnwritten(a) })
	}
	for _, a := range s.answers {
		add(fmt.Sprintf("%d, and every tag and digest is unchanged: %s", a.wanted, a.what), func() error { return s.answered(a) })
	}
	add("DEV addresses got nothing but 403 from PROD and its storage", s.firewallHeld)
	add("the client at payments pulled every byte of that digest from its own registry", s.pulledAll)
	add("the inverted push wrote nothing to PROD, and nothing of the team's image is there", s.prodUntouched)
	add("the hosts in the proxy's log are those that the program reports", s.dialledAsTold)
	add("no credential was sent to storage behind a redirect", s.storageUnsigned)
	return list
}

func (s *story) digestsEqual() error {
	for _, r := range s.env.registries() {
		if got := r.TagDigest(repository, s.tag()); got != s.image.root.Digest {
			return fmt.Errorf("%s has %q under %s, not %s", r.Host(), got, s.tag(), s.image.root.Digest)
		}
	}
	return nil
}

func (s *story) bytesEqual() error {
	for _, r := range s.env.teams() {
		for _, m := range slices.Concat([]testimage.Part{s.image.root}, s.image.children, s.image.attached) {
			mediaType, content, ok := r.Manifest(repository, m.Digest)
			if !ok || mediaType != m.MediaType || !bytes.Equal(content, m.Content) {
				return fmt.Errorf("%s has manifest %s otherwise, or not at all", r.Host(), m.Digest)
			}
		}
		for digest, built := range s.image.blobs {
			if stored, ok := r.Blob(repository, digest); !ok || !bytes.Equal(stored, built) {
				return fmt.Errorf("%s has blob %s otherwise, or not at all", r.Host(), digest)
			}
		}
	}
	return nil
}

// attachment finds what a registry has attached to the image by its type.
func (s *story) attachment(r *sim.Registry, artifactType string) (m v1.Manifest, body []byte, digest string, err error) {
	for _, digest := range r.Referrers(repository, s.image.root.Digest) {
		_, content, _ := r.Manifest(repository, digest)
		var m v1.Manifest
		if json.Unmarshal(content, &m) == nil && m.ArtifactType == artifactType && len(m.Layers) > 0 {
			body, _ := r.Blob(repository, m.Layers[0].Digest.String())
			return m, body, digest, nil
		}
	}
	return v1.Manifest{}, nil, "", fmt.Errorf("%s has nothing of type %s attached", r.Host(), artifactType)
}

// kinds are the things attached to the image at a registry, in words.
func (s *story) kinds(r *sim.Registry) []string {
	var kinds []string
	for _, kind := range []struct{ artifactType, name string }{{sbomType, "SBOM"}, {signatureType, "signature"}, {sealType, "seal record"}} {
		if _, _, _, err := s.attachment(r, kind.artifactType); err == nil {
			kinds = append(kinds, kind.name)
		}
	}
	return kinds
}

func (s *story) referrersArrived() error {
	for _, artifactType := range []string{sbomType, signatureType, sealType} {
		_, _, original, err := s.attachment(s.env.prod, artifactType)
		if err != nil {
			return err
		}
		for _, r := range s.env.teams() {
			_, body, digest, err := s.attachment(r, artifactType)
			if err != nil {
				return err
			}
			if digest != original || len(body) == 0 {
				return fmt.Errorf("%s has another %s than PROD, or an empty one", r.Host(), artifactType)
			}
		}
	}
	return nil
}

func (s *story) attachmentsTrue() error {
	for _, r := range s.env.teams() {
		d, payload, _, err := s.attachment(r, signatureType)
		if err != nil {
			return err
		}
		signature, err := base64.StdEncoding.DecodeString(d.Layers[0].Annotations[signatureKey])
		if err != nil || !ed25519.Verify(s.image.publicKey, payload, signature) || !bytes.Contains(payload, []byte(s.image.root.Digest)) {
			return fmt.Errorf("the signature in %s is not the image's", r.Host())
		}
		_, sbom, _, err := s.attachment(r, sbomType)
		if err != nil {
			return err
		}
		for _, b := range s.image.binaries {
			if sum := strings.TrimPrefix(testimage.Digest(b.content), "sha256:"); !bytes.Contains(sbom, []byte(sum)) {
				return fmt.Errorf("the SBOM in %s does not name the program for %s", r.Host(), b.platform)
			}
		}
	}
	return nil
}

var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

func (s *story) codeIsDigest() error {
	raw, err := hex.DecodeString(strings.TrimPrefix(s.image.root.Digest, "sha256:"))
	if err != nil {
		return err
	}
	var groups []string
	for group := range slices.Chunk([]byte(crockford.EncodeToString(raw[:15])), 4) {
		groups = append(groups, string(group))
	}
	if wanted := strings.Join(groups, "-"); s.code != wanted {
		return fmt.Errorf("seal showed %q, and the digest's is %s", s.code, wanted)
	}
	return nil
}

func (s *story) locked() error {
	if a, ok := s.env.prod.TagAttributes(repository, s.tag()); !ok || a.Write || a.Delete {
		return fmt.Errorf("the tag at PROD: there %t, may be written %t, deleted %t", ok, a.Write, a.Delete)
	}
	for _, m := range slices.Concat([]testimage.Part{s.image.root}, s.image.children) {
		if a, ok := s.env.prod.ManifestAttributes(repository, m.Digest); !ok || a.Delete || !a.Write {
			return fmt.Errorf("%s at PROD: there %t, may be written %t, deleted %t", m.Digest, ok, a.Write, a.Delete)
		}
	}
	return nil
}

func (s *story) inOrder() error {
	tag, _ := s.env.prod.TagAttributes(repository, s.tag())
	_, _, digest, err := s.attachment(s.env.prod, sealType)
	if err != nil {
		return err
	}
	record, _ := s.env.prod.ManifestAttributes(repository, digest)
	writes := s.env.writes(s.pushed.requests)
	switch {
	case tag.Updated.After(s.approved):
		return fmt.Errorf("the tag was touched at %v, after the approval at %v", tag.Updated, s.approved)
	case record.Created.After(s.approved):
		return fmt.Errorf("the seal record is of %v, after the approval at %v", record.Created, s.approved)
	case len(writes) == 0:
		return fmt.Errorf("the request log has no write of the inverted push")
	case writes[0].Time.Before(s.approved):
		return fmt.Errorf("the first write was at %v, before the approval at %v", writes[0].Time, s.approved)
	}
	return nil
}

func (s *story) unwritten(a attempt) error {
	if writes := s.env.writes(a.outcome.requests); len(writes) > 0 {
		return fmt.Errorf("the request log has %d writes, the first: %s %s%s", len(writes), writes[0].Method, writes[0].Host, writes[0].Path)
	}
	if !a.before.same(a.after) {
		return fmt.Errorf("a registry is not as it was before")
	}
	return nil
}

func (s *story) plannedRight() error {
	if err := s.unwritten(s.planned); err != nil {
		return err
	}
	said := s.planned.outcome.said
	pending := 0
	for _, r := range said.Approval.Rules {
		if r.Pending {
			pending++
		} else if !r.Met {
			return fmt.Errorf("%s is not met: %s", r.Label, r.Detail)
		}
	}
	if pending == 0 || said.Approval.Granted || said.ApprovalCode != s.code {
		return fmt.Errorf("%d rules are pending, granted is %t, and the code is %s, not %s", pending, said.Approval.Granted, said.ApprovalCode, s.code)
	}
	return nil
}

func (s *story) refusedUnwritten(a attempt) error {
	if err := s.unwritten(a); err != nil {
		return err
	}
	if said := a.outcome.said; said.Outcome != "refused" || said.rules() != a.rules || a.outcome.task != "Failed" {
		return fmt.Errorf("the program ended with %s by %q and the task's result %q, not refused by %q and Failed", said.Outcome, said.rules(), a.outcome.task, a.rules)
	}
	return nil
}

func (s *story) movedNothing(a attempt) error {
	if err := s.unwritten(a); err != nil {
		return err
	}
	for _, q := range a.outcome.requests {
		if _, digest, ok := strings.Cut(q.Path, "/blobs/"); ok && s.image.blobs[digest] != nil {
			return fmt.Errorf("the request log has %s %s%s", q.Method, q.Host, q.Path)
		}
	}
	if a.outcome.said.Changed || a.outcome.task != "Succeeded" {
		return fmt.Errorf("the program says changed %t, and the task's result is %q", a.outcome.said.Changed, a.outcome.task)
	}
	return nil
}

func (s *story) answered(a answer) error {
	if !a.before.sameImages(a.after) {
		return fmt.Errorf("a tag or a manifest is not as it was before")
	}
	last := 0
	for _, q := range a.requests {
		if strings.Contains(q.Path, "/manifests/") && q.Method == http.MethodPut && q.Status < 400 {
			return fmt.Errorf("the request log has a manifest taken: %s%s", q.Host, q.Path)
		}
		last = q.Status
	}
	if last != a.wanted {
		return fmt.Errorf("the registry's last answer was %d (%v)", last, a.err)
	}
	return nil
}

func (s *story) firewallHeld() error {
	inside, asked := s.env.prodNetwork.IP(), 0
	for _, q := range s.env.cloud.Requests() {
		if q.Client == inside || q.Host != s.env.prod.Host() && q.Host != s.env.prod.StorageHost() {
			continue
		}
		if asked++; q.Status != http.StatusForbidden {
			return fmt.Errorf("%s had %d for %s %s%s", q.Client, q.Status, q.Method, q.Host, q.Path)
		}
	}
	if asked == 0 {
		return fmt.Errorf("the request log has nobody outside asking PROD")
	}
	return nil
}

func (s *story) pulledAll() error {
	if s.pulled.root.Digest != s.image.root.Digest {
		return fmt.Errorf("it has %s", s.pulled.root.Digest)
	}
	for i, b := range s.image.binaries {
		var d testimage.Manifest
		if err := json.Unmarshal(s.pulled.children[i].Content, &d); err != nil {
			return err
		}
		program, err := fileIn(s.pulled.blobs[d.Layers[len(d.Layers)-1].Digest], programPath)
		if err != nil {
			return err
		}
		if !bytes.Equal(program, b.content) {
			return fmt.Errorf("the program in it for %s is not the one that was built", b.platform)
		}
	}
	for _, host := range s.env.paymentsNet.Dialled() {
		if party := s.env.party(strings.TrimSuffix(host, ":443")); party != "payments" && party != "payments's storage" && party != "PROD" {
			return fmt.Errorf("it dialled %s", host)
		}
	}
	return nil
}

func (s *story) prodUntouched() error {
	for _, q := range s.env.writes(s.pushed.requests) {
		if q.Host == s.env.prod.Host() {
			return fmt.Errorf("the request log has %s %s%s", q.Method, q.Host, q.Path)
		}
	}
	if slices.Contains(s.env.prod.Digests(repository), s.theirs.root.Digest) {
		return fmt.Errorf("PROD has %s", s.theirs.root.Digest)
	}
	return nil
}

// dialledAsTold compares the program's word with the proxy's for every run.
func (s *story) dialledAsTold() error {
	runs := []*outcome{s.sealed, s.planned.outcome, s.pushed}
	for _, a := range s.attempts {
		runs = append(runs, a.outcome)
	}
	for _, o := range runs {
		seen := distinct(o.dialled)
		if !slices.Equal(seen, distinct(o.said.Egress)) {
			return fmt.Errorf("the proxy saw %v, and result.json has %v", seen, o.said.Egress)
		}
		for _, host := range seen {
			if name := strings.TrimSuffix(host, ":443"); name == host || s.env.party(name) == name {
				return fmt.Errorf("the proxy saw the program dial %s", host)
			}
		}
	}
	return nil
}

func (s *story) storageUnsigned() error {
	fetched := 0
	for _, q := range s.env.cloud.Requests() {
		if !slices.ContainsFunc(s.env.registries(), func(r *sim.Registry) bool { return r.StorageHost() == q.Host }) {
			continue
		}
		if fetched++; q.Authorization != "" {
			return fmt.Errorf("%s %s%s bore a %s sign-in", q.Method, q.Host, q.Path, q.Authorization)
		}
	}
	if fetched == 0 {
		return fmt.Errorf("the request log has nothing fetched from any storage")
	}
	return nil
}
