// Package referrer decides which of the artifacts that are attached to an image
// travel with it, and why the others stay behind. It is pure: manifests are read
// and times are asked for elsewhere.
package referrer

import (
	"slices"
	"strings"
)

// Manifest is what an attached manifest is made of, as far as an engine looks
// at it to decide whether it is an image. The types are as they were written.
type Manifest struct {
	MediaType string
	Config    string   // the config's media type
	Layers    []string // the media types of the layers, or of an artifact's blobs
}

// indexTypes are the media types of manifests that list others.
var indexTypes = []string{
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
}

// artifactTypes are the media types of manifests of former artifacts: no engine runs
// one. They have neither a config nor layers.
var artifactTypes = []string{
	"application/vnd.oci.artifact.manifest.v1+json",
	"application/vnd.cncf.oras.artifact.manifest.v1+json",
}

// runnableConfigs are the config types that make an engine run a manifest. Docker
// takes the first five, and no type at all, for an image: registries of old wrote
// them. The last one is that of its plugins, which run with the host's rights.
// (moby, distribution/registry.go: ImageTypes, PluginTypes; containerd,
// core/images: IsConfigType; containers/image, manifest/oci.go.)
var runnableConfigs = []string{
	"application/vnd.oci.image.config.v1+json",
	"application/vnd.docker.container.image.v1+json",
	"application/json",
	"application/octet-stream",
	"text/html",
	"",
	"application/vnd.docker.plugin.v1+json",
}

// evidenceLayers are the layer types of signatures, attestations and SBOMs.
// Cosign stores these under an image's config, so that registries which know
// only images take them.
var evidenceLayers = []string{
	// cosign: pkg/types/media.go, specs/SIGNATURE_SPEC.md, specs/SBOM_SPEC.md.
	"application/vnd.dev.cosign.simplesigning.v1+json",
	"application/vnd.dsse.envelope.v1+json",
	"text/spdx",
	"text/spdx+xml",
	"text/spdx+json",
	"application/vnd.cyclonedx",
	"application/vnd.cyclonedx+xml",
	"application/vnd.cyclonedx+json",
	"application/vnd.syft+json",
	// BuildKit's attestations, and in-toto's own type: docs/attestations.
	"application/vnd.in-toto+json",
	// Sigstore bundles: protobuf-specs, sigstore_bundle.proto.
	"application/vnd.dev.sigstore.bundle+json;version=0.1",
	"application/vnd.dev.sigstore.bundle+json;version=0.2",
	"application/vnd.dev.sigstore.bundle+json;version=0.3",
	"application/vnd.dev.sigstore.bundle.v0.3+json",
	// Notary Project: specs/signature-specification.md.
	"application/jose+json",
	"application/cose",
	// The types registered for SPDX, used by Trivy, Syft and ORAS.
	"application/spdx+json",
}

// Runnable reports whether a container engine would run the manifest: it is an
// index, or its config is one that engines take for an image's. One whose layers
// are all signatures, attestations or SBOMs is not run; one without layers is.
//
// Doubt counts as runnable: the config's type is compared as engines of any
// leniency might, the layers' types exactly as their tools write them.
func (m Manifest) Runnable() bool {
	if slices.Contains(indexTypes, essence(m.MediaType)) {
		return true
	}
	if slices.Contains(artifactTypes, m.MediaType) || !slices.Contains(runnableConfigs, essence(m.Config)) {
		return false
	}
	return len(m.Layers) == 0 || slices.ContainsFunc(m.Layers, func(layer string) bool { return !slices.Contains(evidenceLayers, layer) })
}

// essence is a media type without its parameters, in lower case and without
// white space.
func essence(mediaType string) string {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	return strings.ToLower(strings.Join(strings.Fields(mediaType), ""))
}
