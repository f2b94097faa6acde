package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/receipt"
	"acrpromote/internal/transfer"
)

// summaryType is the type of the summary of a receipt.
const summaryType = "https://slsa.dev/verification_summary/v1"

// verdict is what a client said of receipts. Failure is empty if it was right.
type verdict struct{ client, what, said, failure string }

// signing is a key, with its public half in a file of the home.
type signing struct {
	name   string
	signer receipt.Signer
	public string
	every  int // of how many bytes one is changed
}

// judgeReceipts attaches receipts to images in a registry, and lets clients judge
// them that know nothing of this program.
func judgeReceipts(c *clients, host string) ([]verdict, error) {
	keys, err := signingKeys(c)
	if err != nil {
		return nil, err
	}
	var list []verdict
	add := func(client, what, said string, err error) {
		v := verdict{client: client, what: what, said: said}
		if err != nil {
			v.failure = err.Error()
		}
		list = append(list, v)
	}
	signed := image{host: host, repository: "receipts/signed", tag: "1.0"}
	if err := sign(c, signed, "--new-bundle-format=false"); err != nil {
		return nil, err
	}
	subject, err := subjectOf(c, signed)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		artifacts, err := receiptOf(c.ctx, key, signed, subject.Digest, receipt.DSSE)
		if err != nil {
			return nil, err
		}
		tried, err := slsaVerifier(c, key, signed, subject.Digest, artifacts[1].Content)
		add("slsa-verifier", "`verify-vsa`, "+key.name, fmt.Sprintf("accepts; refuses each of %d envelopes with one byte of payload or signature changed", tried), err)
	}
	attached, err := attach(c, keys[0], signed, subject, receipt.DSSE)
	if err != nil {
		return nil, err
	}
	_, err = c.run("cosign", "verify", "--key", "cosign.pub", "--insecure-ignore-tlog", "--allow-http-registry", signed.String())
	add("cosign", "`verify` of the image's `.sig` tag, with receipts attached", "accepts", err)
	for _, client := range []struct {
		name, what string
		list       func() (string, error)
	}{
		{"oras", "`discover`", func() (string, error) {
			return c.run("oras", "discover", "--plain-http", "--format", "json", signed.String())
		}},
		{"regctl", "`artifact list`", func() (string, error) { return c.regctl(signed, "artifact", "list", signed.String()) }},
	} {
		said, err := client.list()
		for _, digest := range attached {
			if err == nil && !strings.Contains(said, digest) {
				err = fmt.Errorf("%s is not in %s", digest, said)
			}
		}
		add(client.name, client.what, "shows both statements", err)
	}
	bundled := image{host: host, repository: "receipts/bundled", tag: "1.0"}
	home, err := c.folder()
	if err != nil {
		return nil, err
	}
	if c, err = newClients(c.ctx, home, c.programs); err != nil {
		return nil, err
	}
	if err := pushLayout(c, bundled); err != nil {
		return nil, err
	}
	if subject, err = subjectOf(c, bundled); err != nil {
		return nil, err
	}
	if _, err := attach(c, keys[0], bundled, subject, receipt.Bundle); err != nil {
		return nil, err
	}
	attestation := func(key signing) error {
		_, err := c.run("cosign", "verify-attestation", "--key", key.public, "--insecure-ignore-tlog", "--allow-http-registry", "--type", summaryType, bundled.String())
		return err
	}
	err = attestation(keys[0])
	if err == nil && attestation(keys[1]) == nil {
		err = errors.New("it counts for a key that did not sign")
	}
	add("cosign", "`verify-attestation` of a summary as a bundle, "+keys[0].name, "accepts; refuses for another key", err)
	return list, nil
}

// signingKeys makes a key of each kind.
func signingKeys(c *clients) ([]signing, error) {
	p256, err256 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err384 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, edwards, errEdwards := ed25519.GenerateKey(rand.Reader)
	prime, errPrime := rsa.GenerateKey(rand.Reader, 3072)
	if err := errors.Join(err256, err384, errEdwards, errPrime); err != nil {
		return nil, err
	}
	var keys []signing
	for _, made := range []struct {
		name    string
		private crypto.Signer
		every   int
	}{{"P-256", p256, 1}, {"P-384", p384, 16}, {"Ed25519", edwards, 16}, {"RSA-3072", prime, 16}} {
		signer, err := receipt.LocalSigner(made.private)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKIXPublicKey(made.private.Public())
		if err != nil {
			return nil, err
		}
		file := c.file(made.name + ".pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
			return nil, err
		}
		keys = append(keys, signing{made.name, signer, file, made.every})
	}
	return keys, nil
}

// subjectOf returns the descriptor of an image.
func subjectOf(c *clients, i image) (transfer.Descriptor, error) {
	request, err := http.NewRequestWithContext(c.ctx, http.MethodGet, "http://"+i.host+"/v2/"+i.repository+"/manifests/"+i.tag, nil)
	if err != nil {
		return transfer.Descriptor{}, err
	}
	request.Header.Set("Accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return transfer.Descriptor{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return transfer.Descriptor{}, fmt.Errorf("reading %s: %s", i, response.Status)
	}
	var content bytes.Buffer
	if _, err := content.ReadFrom(response.Body); err != nil {
		return transfer.Descriptor{}, fmt.Errorf("reading %s: %w", i, err)
	}
	return transfer.Descriptor{MediaType: response.Header.Get("Content-Type"), Digest: digest(content.Bytes()), Size: int64(content.Len())}, nil
}

// receiptOf returns the signed promotion of an image, and its summary.
func receiptOf(ctx context.Context, key signing, i image, digest string, format receipt.Format) ([]receipt.Artifact, error) {
	at := receipt.Place{Registry: i.host, Repository: i.repository, Tag: i.tag}
	production := receipt.Resource{Type: "environment", ID: "7", Name: "Production"}
	now := time.Now().UTC().Truncate(time.Second)
	promotion, summaries, err := receipt.Promotion{
		Time: now, Tool: "0.0.0", Action: "invertedPush", Digest: digest,
		From: receipt.Place{Registry: "prod.example", Repository: "shop/cart", Tag: i.tag}, To: []receipt.Place{at},
		Run: receipt.Run{Kind: "yaml", Organization: "contoso", Project: "shop", ID: 4711, Stage: "Production", Attempt: 1, Branch: "refs/heads/main"},
		Approval: receipt.Approval{Kind: receipt.Manual, Approvers: 1, Resources: []receipt.Resource{production}, Given: []receipt.Given{
			{ID: "a", Resource: production, Number: 1, Approver: receipt.Person{Name: "Release Manager"}, Time: now.Add(-time.Minute)},
		}},
		RulesVerified: true, Rules: []receipt.Rule{{Name: "minApprovers", Value: "1", From: "flow"}},
		Outcomes: []receipt.Outcome{{Rule: "approval-missing", Met: true}},
	}.Statements(receipt.DefaultRedaction(), at)
	if err != nil {
		return nil, err
	}
	var signed []receipt.Artifact
	for _, payload := range []receipt.Payload{promotion, summaries[0]} {
		a, err := payload.Sign(ctx, key.signer, format)
		if err != nil {
			return nil, err
		}
		signed = append(signed, a)
	}
	return signed, nil
}

// attach attaches a receipt as the program does, and returns the digests of its
// manifests.
func attach(c *clients, key signing, i image, subject transfer.Descriptor, format receipt.Format) ([]string, error) {
	artifacts, err := receiptOf(c.ctx, key, i, subject.Digest, format)
	if err != nil {
		return nil, err
	}
	registry := transfer.NewRegistry(i.host, http.DefaultClient, true)
	var digests []string
	for _, a := range artifacts {
		put, err := registry.PutArtifact(c.ctx, i.repository, transfer.Artifact{
			Type: a.Type, Subject: subject, Annotations: a.Annotations, Contents: []transfer.Content{{MediaType: a.MediaType, Data: a.Content, Inline: true}},
		})
		if err != nil {
			return nil, err
		}
		digests = append(digests, put.Digest)
	}
	return digests, nil
}

// slsaVerifier lets slsa-verifier judge a summary, and the same with a byte changed,
// and returns the number of changed ones.
func slsaVerifier(c *clients, key signing, i image, digest string, envelope []byte) (int, error) {
	verify := func(name string, content []byte) error {
		file := c.file(name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return err
		}
		defer os.Remove(file)
		_, err := c.run("slsa-verifier", "verify-vsa", "--attestation-path", file, "--subject-digest", digest,
			"--resource-uri", i.host+"/"+i.repository+"@"+digest, "--verifier-id", "urn:acrpromote:verifier:v1",
			"--verified-level", receipt.ApprovedByPersons, "--verified-level", receipt.RulesVerified, "--public-key-path", key.public)
		return err
	}
	if err := verify(key.name+"-right.json", envelope); err != nil {
		return 0, err
	}
	var parsed struct {
		PayloadType string `json:"payloadType"`
		Payload     []byte `json:"payload"`
		Signatures  []struct {
			KeyID string `json:"keyid"`
			Sig   []byte `json:"sig"`
		} `json:"signatures"`
	}
	if err := json.Unmarshal(envelope, &parsed); err != nil {
		return 0, err
	}
	var tried atomic.Int64
	var group errgroup.Group
	group.SetLimit(2)
	change := func(what string, content []byte) {
		encoded := base64.StdEncoding.EncodeToString(content)
		for at := 0; at < len(content); at += key.every {
			group.Go(func() error {
				changed := bytes.Clone(content)
				changed[at] ^= 1
				forged := bytes.Replace(envelope, []byte(encoded), []byte(base64.StdEncoding.EncodeToString(changed)), 1)
				if bytes.Equal(forged, envelope) {
					return fmt.Errorf("byte %d of the %s was not changed", at, what)
				}
				if verify(fmt.Sprintf("%s-%s-%d.json", key.name, what, at), forged) == nil {
					return fmt.Errorf("it accepts a changed byte %d of the %s", at, what)
				}
				tried.Add(1)
				return nil
			})
		}
	}
	change("payload", parsed.Payload)
	change("signature", parsed.Signatures[0].Sig)
	err := group.Wait()
	return int(tried.Load()), err
}
