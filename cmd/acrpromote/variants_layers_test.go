package main_test

import (
	"net/http"
	"strings"
	"testing"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// layerVariants are the variants of mounts, uploads, existence checks and responses.
func layerVariants() []variant {
	noHead := func(status int, contentType string) *sim.Answer {
		return &sim.Answer{Status: status, ContentType: contentType}
	}
	var list []variant
	target := func(name string, q sim.Quirks) {
		list = append(list, variant{name: "target: " + name, target: quirks(q)})
	}
	source := func(name string, q sim.Quirks) {
		list = append(list, variant{name: "source: " + name, source: quirks(q)})
	}
	target("a mount names no digest", sim.Quirks{Mount: sim.MountsUnnamed})
	target("a mount is answered with 201 and an upload", sim.Quirks{Mount: sim.MountsUpload})
	target("a mount is answered with 201, and mounts nothing", sim.Quirks{Mount: sim.MountsPretends})
	target("uploads are redirected with 307", sim.Quirks{MovedUploads: http.StatusTemporaryRedirect})
	target("uploads are redirected with 308", sim.Quirks{MovedUploads: http.StatusPermanentRedirect})
	list = append(list, variant{name: "target: uploads are redirected to another host", target: quirks(sim.Quirks{MovedUploads: http.StatusTemporaryRedirect, MovedUploadsTo: fromHost}),
		first: atTarget, says: "redirects the upload to another host (https://" + fromHost, audit: atTarget})
	target("manifests are answered with 202", sim.Quirks{AcceptedPut: true})
	target("HEAD of manifests is answered with 404", sim.Quirks{NoHead: noHead(http.StatusNotFound, "")})
	target("HEAD of manifests is answered with 404 as a web page", sim.Quirks{NoHead: noHead(http.StatusNotFound, "text/html")})
	target("HEAD of manifests is answered with 404 as an error", sim.Quirks{NoHead: noHead(http.StatusNotFound, "application/json; charset=utf-8")})
	target("HEAD of manifests is answered with 405", sim.Quirks{NoHead: noHead(http.StatusMethodNotAllowed, "")})
	target("HEAD of manifests is answered with 501", sim.Quirks{NoHead: noHead(http.StatusNotImplemented, "")})
	source("HEAD of manifests is answered with 405", sim.Quirks{NoHead: noHead(http.StatusMethodNotAllowed, "")})
	target("manifests are compressed", sim.Quirks{Gzip: true})
	source("manifests are compressed", sim.Quirks{Gzip: true})
	source("manifests and blobs are compressed", sim.Quirks{Gzip: true, GzipBlobs: true})
	target("HEAD of blobs is redirected to storage that takes it", sim.Quirks{RedirectedHead: true})
	target("HEAD of blobs is redirected to storage that takes GET only", sim.Quirks{RedirectedHead: true, SignedForGET: true})
	for i := range list {
		list[i].deep = true
	}
	return list
}

// TestForeignLayers checks that a layer that may not be distributed stays behind only
// if the image says where else it is, that it is sent where a target demands it, and
// that an audit says where its bytes are missing.
func TestForeignLayers(t *testing.T) {
	const restricted = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
	content := []byte("a layer of an operating system")
	stays := "is not distributable"
	for _, c := range []struct {
		name          string
		urls, demands bool
		gone          bool // the source does not have the bytes
		first, deep   string
		arrives       bool
	}{
		{name: "without URLs", first: "done", deep: "done", arrives: true},
		{name: "without URLs, of which the bytes are gone", gone: true, first: atSource, deep: atTarget},
		{name: "with URLs", urls: true, first: warned, deep: warned},
		{name: "with URLs, of which the bytes are gone", urls: true, gone: true, first: warned, deep: warned},
		{name: "demanded", urls: true, demands: true, first: warned, deep: "done", arrives: true},
		{name: "demanded, of which the bytes are gone", urls: true, demands: true, gone: true, first: atTarget, deep: atTarget},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVariantTest(t, variant{target: quirks(sim.Quirks{NeedsForeign: c.demands}), says: map[bool]string{true: "sha256:", false: stays}[c.gone && c.first != warned]})
			v.broken = true
			layer := map[string]any{"mediaType": restricted, "digest": testimage.Digest(content), "size": len(content)}
			if c.urls {
				layer["urls"] = []string{"https://layers.example/1"}
			}
			if !c.gone {
				v.from.PutBlob(variantRepo, content)
			}
			configuration := []byte(`{"os":"windows"}`)
			v.from.PutBlob(variantRepo, configuration)
			v.attached = nil
			v.image = v.push("1.0", testimage.ManifestType, map[string]any{"schemaVersion": 2, "mediaType": testimage.ManifestType,
				"config": testimage.Describe(testimage.ConfigType, configuration), "layers": []any{layer}})
			for range 2 {
				o := v.task(v.in, v.change...)
				if got := v.cell(o); got != c.first && !(got == "done" && c.first == warned) {
					t.Errorf("%s, want %s:\n%s", got, c.first, o.against())
				}
				if _, there := v.to.Blob(variantRepo, testimage.Digest(content)); there != c.arrives {
					t.Errorf("the layer is at the target: %v", there)
				}
				if got := v.to.TagDigest(variantRepo, "1.0"); (got == v.image.Digest) != strings.HasPrefix(c.first, "done") {
					t.Errorf("the tag points to %q", got)
				}
			}
			if deep := v.cell(v.task(v.in.with("action", "audit", "deep", "true"), v.change...)); deep != c.deep {
				t.Errorf("a deep audit is %s, want %s", deep, c.deep)
			}
		})
	}
}
