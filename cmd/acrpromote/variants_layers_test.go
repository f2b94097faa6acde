package main_test

import (
	"net/http"

	"acrpromote/internal/sim"
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
