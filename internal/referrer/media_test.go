package referrer

import (
	"slices"
	"testing"
)

const (
	image      = "application/vnd.oci.image.manifest.v1+json"
	index      = "application/vnd.oci.image.index.v1+json"
	ociConfig  = "application/vnd.oci.image.config.v1+json"
	empty      = "application/vnd.oci.empty.v1+json"
	tar        = "application/vnd.oci.image.layer.v1.tar"
	signing    = "application/vnd.dev.cosign.simplesigning.v1+json"
	dsse       = "application/vnd.dsse.envelope.v1+json"
	dockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
)

func TestRunnable(t *testing.T) {
	for _, c := range []struct {
		name   string
		media  string
		config string
		layers []string
		want   bool
	}{
		{"OCI index", index, "", nil, true},
		{"OCI index in another case", "Application/VND.oci.image.index.v1+JSON ; charset=utf-8", "", nil, true},
		{"Docker manifest list", dockerList, "", nil, true},
		{"OCI image", image, ociConfig, []string{tar + "+gzip"}, true},
		{"Docker image", "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.container.image.v1+json", []string{"application/vnd.docker.image.rootfs.diff.tar.gzip"}, true},
		{"Docker plugin", "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.plugin.v1+json", []string{"application/vnd.docker.image.rootfs.diff.tar.gzip"}, true},
		{"config as JSON", image, "application/json", []string{tar}, true},
		{"config as bytes", image, "application/octet-stream", []string{tar}, true},
		{"config as HTML", image, "text/html", []string{tar}, true},
		{"config as HTML with parameters", image, "text/html; charset=utf-8", []string{tar}, true},
		{"config without a type", image, "", []string{tar}, true},
		{"config of white space", image, " \t", []string{tar}, true},
		{"config in another case", image, "Application/Vnd.OCI.Image.Config.v1+JSON", []string{tar}, true},
		{"config with white space around", image, " " + ociConfig + "\n", []string{tar}, true},
		{"config with parameters", image, ociConfig + ";charset=utf-8", []string{tar}, true},
		{"no layers", image, ociConfig, nil, true},
		{"a layer that only containerd takes", image, ociConfig, []string{"application/vnd.oci.image.layer.v9.squashfs"}, true},
		{"a signature and a layer", image, ociConfig, []string{signing, tar}, true},
		{"a layer and a signature", image, ociConfig, []string{tar, signing}, true},
		{"a signature in another case", image, ociConfig, []string{"Application/vnd.dev.cosign.simplesigning.v1+json"}, true},
		{"a signature with parameters", image, ociConfig, []string{signing + "; charset=utf-8"}, true},
		{"a layer without a type", image, ociConfig, []string{""}, true},

		{"cosign signature", image, ociConfig, []string{signing}, false},
		{"cosign signatures", image, ociConfig, []string{signing, signing}, false},
		{"cosign attestations", image, ociConfig, []string{dsse, dsse}, false},
		{"cosign SBOM", image, ociConfig, []string{"text/spdx+json"}, false},
		{"cosign signature of Docker's types", "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.container.image.v1+json", []string{signing}, false},
		{"BuildKit attestation", image, ociConfig, []string{"application/vnd.in-toto+json"}, false},
		{"bundle of old", image, ociConfig, []string{"application/vnd.dev.sigstore.bundle+json;version=0.2"}, false},
		{"cosign 3 bundle", image, empty, []string{"application/vnd.dev.sigstore.bundle.v0.3+json"}, false},
		{"notation", image, "application/vnd.cncf.notary.signature", []string{"application/jose+json"}, false},
		{"oras attach", image, empty, []string{tar}, false},
		{"oras attach without files", image, empty, []string{empty}, false},
		{"OCI artifact", artifactTypes[0], "", []string{tar}, false},
		{"ORAS artifact without blobs", artifactTypes[1], "", nil, false},
		{"artifact in another case", "application/vnd.oci.artifact.manifest.v1+JSON", "", nil, true},
		{"Helm chart", image, "application/vnd.cncf.helm.config.v1+json", []string{"application/vnd.cncf.helm.chart.content.v1.tar+gzip"}, false},
	} {
		if got := (Manifest{MediaType: c.media, Config: c.config, Layers: c.layers}).Runnable(); got != c.want {
			t.Errorf("%s: runnable %v, want %v", c.name, got, c.want)
		}
	}
}

// TestRunnableConfigs: each of the types makes a manifest runnable, with any
// layer but evidence, and no evidence makes up for a layer of files.
func TestRunnableConfigs(t *testing.T) {
	for _, config := range runnableConfigs {
		for _, evidence := range evidenceLayers {
			m := Manifest{MediaType: image, Config: config, Layers: []string{evidence}}
			if m.Runnable() {
				t.Errorf("config %q with %s is runnable", config, evidence)
			}
			for _, layers := range [][]string{{tar}, {evidence, tar}, {tar, evidence}, nil} {
				if m.Layers = layers; !m.Runnable() {
					t.Errorf("config %q with layers %q is not runnable", config, layers)
				}
			}
		}
	}
	for _, list := range [][]string{runnableConfigs, evidenceLayers} {
		sorted := slices.Sorted(slices.Values(list))
		if len(slices.Compact(sorted)) != len(list) {
			t.Errorf("a type is listed twice: %q", list)
		}
	}
}
