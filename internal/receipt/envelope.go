package receipt

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Format is how a statement is stored.
type Format string

const (
	// DSSE stores the envelope alone.
	DSSE Format = "dsse"
	// Bundle stores a Sigstore bundle around it, which cosign finds. A bundle makes
	// cosign overlook older signatures of the image (its tags ending in .sig).
	Bundle Format = "bundle"
)

const (
	// ArtifactType is the artifact type of receipts among an image's referrers.
	ArtifactType = "application/vnd.acrpromote.receipt.v1+json"
	// MediaType is the media type of the layer with the envelope.
	MediaType = "application/vnd.acrpromote.receipt.v1.dsse+json"
	// BundleType is the artifact type and the media type of the layer of a bundle.
	BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

	payloadType = "application/vnd.in-toto+json"
)

// The annotations of a receipt's manifest. They are not signed.
const (
	annotationCreated   = "org.opencontainers.image.created"
	annotationPredicate = "in-toto.io/predicate-type"
	// Those that cosign writes.
	annotationBundleContent   = "dev.sigstore.bundle.content"
	annotationBundlePredicate = "dev.sigstore.bundle.predicateType"
)

// The limits of what is read: of an envelope or bundle, and of the statement in it.
const (
	MaxSize    = 512 << 10
	maxPayload = 350 << 10
	maxDepth   = 16
)

// Signer signs messages with one key. Signatures are as in Key.Verify.
type Signer interface {
	Public() crypto.PublicKey
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// Artifact is a signed statement, to be attached to the image as an artifact of one
// layer.
type Artifact struct {
	Type          string // artifactType
	MediaType     string // of the layer
	Content       []byte // of the layer
	Annotations   map[string]string
	PredicateType string
	KeyID         string
}

// Sign returns the signed statement. The signature is verified before it is
// returned, so that a signer that errs is found here.
func (p Payload) Sign(ctx context.Context, signer Signer, format Format) (Artifact, error) {
	failed := func(err error) (Artifact, error) {
		return Artifact{}, fmt.Errorf("cannot sign the statement %s: %w", p.Type, err)
	}
	key, err := NewKey(signer.Public())
	if err != nil {
		return failed(err)
	}
	message := pae(payloadType, p.Content)
	signature, err := signer.Sign(ctx, message)
	if err != nil {
		return failed(err)
	}
	if !key.Verify(message, signature) {
		return failed(fmt.Errorf("the signature does not match the key %s", key.ID()))
	}
	e := envelope{Payload: p.Content, PayloadType: payloadType, Signatures: []signatureOf{{Sig: signature}}}
	a := Artifact{
		Type: ArtifactType, MediaType: MediaType, PredicateType: p.Type, KeyID: key.ID(),
		Annotations: map[string]string{annotationCreated: p.Time.Format(time.RFC3339), annotationPredicate: p.Type},
	}
	if format == Bundle {
		a.Type, a.MediaType = BundleType, BundleType
		a.Annotations[annotationBundleContent], a.Annotations[annotationBundlePredicate] = "dsse-envelope", p.Type
	}
	if a.Content, err = e.encode(a.MediaType, key.hint()); err != nil {
		return failed(err)
	}
	return a, nil
}

// envelope is a DSSE envelope. Byte slices are base64 in JSON.
type envelope struct {
	Payload     []byte        `json:"payload"`
	PayloadType string        `json:"payloadType"`
	Signatures  []signatureOf `json:"signatures"`
}

// signatureOf is a signature. KeyID is empty in what this program writes: tools
// that are given one key skip a signature with another ID.
type signatureOf struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// bundle is a Sigstore bundle with an envelope that is signed by a key.
type bundle struct {
	MediaType            string   `json:"mediaType"`
	VerificationMaterial material `json:"verificationMaterial"`
	Envelope             envelope `json:"dsseEnvelope"`
}

type material struct {
	PublicKey publicKeyHint `json:"publicKey"`
}

type publicKeyHint struct {
	Hint string `json:"hint"`
}

// encode returns the envelope in the form of a media type.
func (e envelope) encode(mediaType, hint string) ([]byte, error) {
	if mediaType == BundleType {
		return marshal(bundle{MediaType: BundleType, VerificationMaterial: material{publicKeyHint{hint}}, Envelope: e})
	}
	return marshal(e)
}

// parseEnvelope parses the content of a receipt's layer. The content must have the
// very bytes that this package writes: no field twice or unknown, nothing before or
// after it, and base64 in its one form.
func parseEnvelope(mediaType string, content []byte) (e envelope, hint string, err error) {
	if len(content) > MaxSize {
		return envelope{}, "", fmt.Errorf("it has %d bytes, and %d are allowed", len(content), MaxSize)
	}
	var b bundle
	var into any = &b.Envelope
	switch mediaType {
	case MediaType:
	case BundleType:
		into = &b
	default:
		return envelope{}, "", fmt.Errorf("its layer has the media type %q", mediaType)
	}
	if err := json.Unmarshal(content, into); err != nil {
		return envelope{}, "", errors.New("it is not a valid envelope")
	}
	e, hint = b.Envelope, b.VerificationMaterial.PublicKey.Hint
	again, err := e.encode(mediaType, hint)
	if err != nil || !bytes.Equal(again, content) {
		return envelope{}, "", errors.New("it is not a valid envelope")
	}
	switch {
	case e.PayloadType != payloadType:
		return envelope{}, "", fmt.Errorf("its payload has the type %q", e.PayloadType)
	case len(e.Signatures) != 1:
		return envelope{}, "", fmt.Errorf("it has %d signatures instead of one", len(e.Signatures))
	case len(e.Payload) > maxPayload:
		return envelope{}, "", fmt.Errorf("its statement has %d bytes, and %d are allowed", len(e.Payload), maxPayload)
	}
	return e, hint, nil
}

// pae returns the bytes that a signature of an envelope covers: DSSE's
// pre-authentication encoding.
func pae(payloadType string, payload []byte) []byte {
	head := "DSSEv1 " + strconv.Itoa(len(payloadType)) + " " + payloadType + " " + strconv.Itoa(len(payload)) + " "
	return append([]byte(head), payload...)
}

// hint returns how a bundle names the key: as cosign does.
func (k Key) hint() string { return base64.StdEncoding.EncodeToString(k.sum[:]) }

// Manifest is what a manifest is made of, as far as a receipt is concerned.
type Manifest struct {
	ArtifactType string
	Subject      string
	Layers       []string // media types
}

// Layer returns the media type of the only layer of a receipt of the image with the
// given digest. It returns an error if the manifest is not that of such a receipt.
func (m Manifest) Layer(digest string) (mediaType string, err error) {
	want := map[string]string{ArtifactType: MediaType, BundleType: BundleType}[m.ArtifactType]
	switch {
	case want == "":
		return "", fmt.Errorf("its manifest has the artifact type %q", m.ArtifactType)
	case m.Subject != digest:
		return "", fmt.Errorf("its manifest refers to %q", m.Subject)
	case len(m.Layers) != 1:
		return "", fmt.Errorf("its manifest has %d layers instead of one", len(m.Layers))
	case m.Layers[0] != want:
		return "", fmt.Errorf("its layer has the media type %q", m.Layers[0])
	}
	return want, nil
}

// IsForeign reports whether the annotations of a manifest say that its statement is of
// a type that this program does not write. They are not signed: this only tells the
// bundles of other tools apart.
func IsForeign(annotations map[string]string) bool {
	for _, name := range []string{annotationPredicate, annotationBundlePredicate} {
		if predicate := annotations[name]; predicate != "" && opened[predicate] == nil {
			return true
		}
	}
	return false
}
