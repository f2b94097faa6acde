package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"acrpromote/internal/testimage"
)

// scenario is what one client pushes, and who judges it.
type scenario struct {
	by, name        string
	repository, tag string
	push            func(*clients, image) error
	judges          []judge
}

// judge returns what a client sees of an image, or fails if it finds it wrong. The
// same must be seen at every registry.
type judge struct {
	by, name string
	look     func(*clients, image) (string, error)
}

// without returns the scenario without the judges whose programs are left out. It
// reports whether the pusher and some judges remain.
func (s scenario) without(programs map[string]*string) (scenario, bool) {
	given := func(by string) bool {
		return !slices.ContainsFunc(strings.Split(by, ", "), func(name string) bool { return *programs[name] == "" })
	}
	s.judges = slices.DeleteFunc(slices.Clone(s.judges), func(j judge) bool { return !given(j.by) })
	return s, given(s.by) && len(s.judges) > 0
}

const (
	sbomType = "application/spdx+json"
	sbom     = `{"spdxVersion":"SPDX-2.3","name":"shop"}`
)

var scenarios = []scenario{
	{"crane", "image of Docker's media types", "shop/crane", "1.0", func(c *clients, i image) error {
		return appendImage(c, i, "linux/amd64", false)
	}, []judge{craneDigest, craneValidate, craneExport, skopeoUnpack, regctlManifest}},
	{"crane", "index of two platforms", "shop/platforms", "1.0", func(c *clients, i image) error {
		args := []string{"index", "append", "-t", i.String()}
		for _, architecture := range []string{"amd64", "arm64"} {
			part := i.at(architecture)
			if err := appendImage(c, part, "linux/"+architecture, true); err != nil {
				return err
			}
			args = append(args, "-m", part.String())
		}
		_, err := c.run("crane", args...)
		return err
	}, []judge{craneDigest, craneValidate, skopeoCopyAll, regctlManifest, orasManifest, skopeoUnpack}},
	{"umoci, skopeo", "OCI image", "shop/umoci", "1.0", pushLayout, []judge{craneDigest, craneValidate, craneExport, skopeoUnpack, regctlManifest}},
	{"oras", "artifact with an SBOM", "shop/artifact", "1.0", func(c *clients, i image) error {
		if err := c.write(map[string]string{"settings.json": `{"colour":"blue"}`, "sbom.json": sbom}); err != nil {
			return err
		}
		if _, err := c.run("oras", "push", "--no-tty", "--plain-http", "--artifact-type", "application/vnd.example.settings", i.String(), "settings.json:application/json"); err != nil {
			return err
		}
		_, err := c.run("oras", "attach", "--no-tty", "--plain-http", "--artifact-type", sbomType, i.String(), "sbom.json")
		return err
	}, []judge{orasPull, orasDiscover, regctlSBOM, craneDigest, skopeoManifest}},
	{"umoci, skopeo, regctl", "OCI image with an SBOM", "shop/regctl", "1.0", func(c *clients, i image) error {
		if err := pushLayout(c, i); err != nil {
			return err
		}
		_, err := c.runWith(strings.NewReader(sbom), "regctl", "artifact", "put", "--artifact-type", sbomType, "--subject", i.String(), "--host", "reg="+i.host+",tls=disabled")
		return err
	}, []judge{regctlSBOM, orasDiscover, craneValidate, skopeoUnpack}},
	{"helm", "chart", "charts/shop", "0.1.0", func(c *clients, i image) error {
		if _, err := c.run("helm", "create", "shop"); err != nil {
			return err
		}
		if _, err := c.run("helm", "package", "shop"); err != nil {
			return err
		}
		_, err := c.run("helm", "push", "--plain-http", "shop-0.1.0.tgz", "oci://"+i.host+"/"+path.Dir(i.repository))
		return err
	}, []judge{helmPull, helmShow, orasManifest, craneDigest}},
	{"umoci, skopeo, cosign", "signature under a tag", "shop/signed", "1.0", func(c *clients, i image) error {
		return sign(c, i, "--new-bundle-format=false")
	}, []judge{cosignVerify("--new-bundle-format=false"), cosignRefuse("--new-bundle-format=false"), skopeoUnpack}},
	{"umoci, skopeo, cosign", "signature as a referrer", "shop/bundle", "1.0", func(c *clients, i image) error {
		return sign(c, i, "--new-bundle-format")
	}, []judge{cosignVerify("--new-bundle-format"), cosignRefuse("--new-bundle-format"), orasDiscover, skopeoUnpack}},
	{"umoci, skopeo, cosign", "attestation as a referrer", "shop/attested", "1.0", func(c *clients, i image) error {
		if err := keys(c, i); err != nil {
			return err
		}
		if err := c.write(map[string]string{"predicate.json": `{"builder":"shop"}`}); err != nil {
			return err
		}
		_, err := c.run("cosign", "attest", "--yes", "--key", "cosign.key", "--new-bundle-format", "--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry", "--predicate", "predicate.json", "--type", "custom", i.String())
		return err
	}, []judge{cosignAttestation, orasDiscover}},
}

// write writes files into the home.
func (c *clients) write(contents map[string]string) error {
	for name, content := range contents {
		if err := os.WriteFile(c.file(name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// appendImage pushes an image of one layer with crane, of OCI's or Docker's media
// types.
func appendImage(c *clients, i image, platform string, oci bool) error {
	layer, err := testimage.Files(map[string][]byte{"app/" + i.repository: []byte(platform), "app/data": []byte(strings.Repeat(platform, 1<<14))}, 0o644)
	if err != nil {
		return err
	}
	archive, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer archive.Close()
	content, err := io.ReadAll(archive)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.file("layer.tar"), content, 0o644); err != nil {
		return err
	}
	args := []string{"append", "-f", "layer.tar", "-t", i.String()}
	if oci {
		args = append(args, "--oci-empty-base")
	}
	if _, err := c.run("crane", args...); err != nil {
		return err
	}
	_, err = c.run("crane", "mutate", "--set-platform", platform, "-t", i.String(), i.String())
	return err
}

// pushLayout pushes an image that umoci built, with skopeo.
func pushLayout(c *clients, i image) error {
	if err := os.MkdirAll(c.file("files/bin"), 0o755); err != nil {
		return err
	}
	if err := c.write(map[string]string{"files/bin/app": "app of " + i.repository, "files/data": strings.Repeat("data", 1<<14)}); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "--layout", "layout"},
		{"new", "--image", "layout:1.0"},
		{"config", "--image", "layout:1.0", "--config.entrypoint", "/opt/bin/app"},
		{"insert", "--rootless", "--image", "layout:1.0", "files", "/opt"},
	} {
		if _, err := c.run("umoci", args...); err != nil {
			return err
		}
	}
	_, err := c.run("skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci:layout:1.0", "docker://"+i.String())
	return err
}

// keys pushes an image and creates cosign's key pair.
func keys(c *clients, i image) error {
	if err := pushLayout(c, i); err != nil {
		return err
	}
	_, err := c.run("cosign", "generate-key-pair")
	return err
}

func sign(c *clients, i image, format string) error {
	if err := keys(c, i); err != nil {
		return err
	}
	_, err := c.run("cosign", "sign", "--yes", "--key", "cosign.key", format, "--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry", i.String())
	return err
}

var (
	craneDigest = judge{"crane", "digest", func(c *clients, i image) (string, error) {
		return c.run("crane", "digest", i.String())
	}}
	craneValidate = judge{"crane", "validate", func(c *clients, i image) (string, error) {
		said, err := c.run("crane", "validate", "--remote", i.String())
		return withoutHosts(said), err
	}}
	craneExport = judge{"crane", "export: the files", func(c *clients, i image) (string, error) {
		archive, err := c.run("crane", "export", i.String(), "-")
		return digest([]byte(archive)), err
	}}
	skopeoManifest = judge{"skopeo", "inspect", func(c *clients, i image) (string, error) {
		raw, err := c.run("skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+i.String())
		return digest([]byte(raw)), err
	}}
	skopeoCopyAll = judge{"skopeo", "copy of all platforms: the files", func(c *clients, i image) (string, error) {
		folder, err := c.folder()
		if err != nil {
			return "", err
		}
		// Not with --preserve-digests: skopeo writes an index in its own form, and then
		// refuses one that was written in another.
		if _, err := c.run("skopeo", "--insecure-policy", "copy", "--all", "--src-tls-verify=false", "docker://"+i.String(), "dir:"+folder); err != nil {
			return "", err
		}
		return files(folder)
	}}
	skopeoUnpack = judge{"skopeo, umoci", "copy and unpack: the files", func(c *clients, i image) (string, error) {
		folder, err := c.folder()
		if err != nil {
			return "", err
		}
		layout, bundle := filepath.Join(folder, "layout"), filepath.Join(folder, "bundle")
		if _, err := c.run("skopeo", "--insecure-policy", "--override-arch", "amd64", "copy", "--src-tls-verify=false", "docker://"+i.String(), "oci:"+layout+":1.0"); err != nil {
			return "", err
		}
		if _, err := c.run("umoci", "unpack", "--rootless", "--image", layout+":1.0", bundle); err != nil {
			return "", err
		}
		return files(filepath.Join(bundle, "rootfs"))
	}}
	regctlManifest = judge{"regctl", "manifest", func(c *clients, i image) (string, error) {
		raw, err := c.regctl(i, "manifest", "get", "--format", "raw-body", i.String())
		return digest([]byte(raw)), err
	}}
	regctlSBOM = judge{"regctl", "the SBOM", func(c *clients, i image) (string, error) {
		found, err := c.regctl(i, "artifact", "get", "--subject", i.String())
		if err == nil && found != sbom {
			err = fmt.Errorf("it is %q", found)
		}
		return found, err
	}}
	orasManifest = judge{"oras", "manifest", func(c *clients, i image) (string, error) {
		raw, err := c.run("oras", "manifest", "fetch", "--plain-http", i.String())
		return digest([]byte(raw)), err
	}}
	orasPull = judge{"oras", "pull: the files", func(c *clients, i image) (string, error) {
		folder, err := c.folder()
		if err != nil {
			return "", err
		}
		if _, err := c.run("oras", "pull", "--no-tty", "--plain-http", "-o", folder, i.String()); err != nil {
			return "", err
		}
		return files(folder)
	}}
	orasDiscover = judge{"oras", "discover: what is attached", func(c *clients, i image) (string, error) {
		document, err := c.run("oras", "discover", "--plain-http", "--format", "json", i.String())
		if err != nil {
			return "", err
		}
		found, err := digests(document)
		if err == nil && !strings.Contains(found, "\n") {
			err = fmt.Errorf("nothing is attached: %s", document)
		}
		return found, err
	}}
	helmPull = judge{"helm", "pull: the chart", func(c *clients, i image) (string, error) {
		folder, err := c.folder()
		if err != nil {
			return "", err
		}
		if _, err := c.run("helm", "pull", "--plain-http", "oci://"+i.host+"/"+i.repository, "--version", i.tag, "--destination", folder); err != nil {
			return "", err
		}
		return files(folder)
	}}
	helmShow = judge{"helm", "show chart", func(c *clients, i image) (string, error) {
		return c.run("helm", "show", "chart", "--plain-http", "oci://"+i.host+"/"+i.repository, "--version", i.tag)
	}}
	cosignAttestation = judge{"cosign", "verify-attestation", func(c *clients, i image) (string, error) {
		said, err := c.run("cosign", "verify-attestation", "--key", "cosign.pub", "--new-bundle-format", "--insecure-ignore-tlog", "--allow-http-registry", "--type", "custom", i.String())
		return digest([]byte(said)), err
	}}
)

// loopback is the host of a registry here. What is signed keeps the source's, other
// output has that of the registry that was asked.
var loopback = regexp.MustCompile(`127\.0\.0\.1:\d+`)

func withoutHosts(said string) string { return loopback.ReplaceAllString(said, "") }

func verifySignature(c *clients, i image, format, key string) (string, error) {
	return c.run("cosign", "verify", "--key", key, format, "--insecure-ignore-tlog", "--allow-http-registry", i.String())
}

func cosignVerify(format string) judge {
	return judge{"cosign", "verify", func(c *clients, i image) (string, error) {
		said, err := verifySignature(c, i, format, "cosign.pub")
		return digest([]byte(withoutHosts(said))), err
	}}
}

// cosignRefuse shows that the verification can fail.
func cosignRefuse(format string) judge {
	return judge{"cosign", "verify with another key: fails", func(c *clients, i image) (string, error) {
		if _, err := os.Stat(c.file("other.pub")); err != nil {
			if _, err := c.run("cosign", "generate-key-pair", "--output-key-prefix", "other"); err != nil {
				return "", err
			}
		}
		if _, err := verifySignature(c, i, format, "other.pub"); err == nil {
			return "", errors.New("the signature counts for a key that did not sign")
		}
		return "refused", nil
	}}
}
