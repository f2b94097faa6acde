package main_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/receipt"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// driftFlow has the rules that drift is judged by. The team web subscribes to one of the
// repositories.
func driftFlow(key string) string {
	return `version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production}
  dev: {host: ` + devHost + `, trust: sandbox}
  web: {host: ` + dev2Host + `, trust: sandbox}
flows:
  released:
    from: prod
    to: [dev, web]
    repositories: ["shop/**"]
    tags: [">=1.0"]
    teams: {dev: ["shop/**"], web: ["shop/web"]}
    lock: tag
    receipt: {key: "` + key + `"}
    require: {approval: {kind: manual, environment: Production}, sealed: false}
`
}

// drifted returns the drift in a result, one line for each finding, sorted.
func (o outcome) drifted() []string {
	o.t.Helper()
	lines := []string{}
	for _, entry := range o.at("drift").([]any) {
		f := entry.(map[string]any)
		host, _, _ := strings.Cut(f["registry"].(string), ".")
		line := fmt.Sprintf("%v %s/%v", f["kind"], strings.TrimPrefix(host, "contoso"), f["repository"])
		if f["tag"] != "" {
			line += fmt.Sprintf(":%v", f["tag"])
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// TestDriftOfAWholeFlow checks that an audit of a whole flow finds nothing after a push,
// then every kind of drift, each once and by its name, and that the next push repairs what
// a push can repair.
func TestDriftOfAWholeFlow(t *testing.T) {
	env := newTestEnv(t)
	env.prod.Grant(clientID, "**", sim.CatalogLister...)
	path, _ := env.keyFile()
	flows := env.flowFile(driftFlow(path))
	images := map[string]descriptor{}
	for i, name := range []string{"missing", "part", "differs", "moved", "tag", "manifest", "noreceipt", "invalid", "other", "sbom", "web", "recalled"} {
		images[name] = pushIndex(env.prod, "shop/"+name, "1.0", 20+i)
	}
	sbom := testimage.Attach(env.prod, "shop/sbom", images["sbom"], "application/spdx+json", []byte("{}")).Digest
	pushImage(env.prod, "shop/web", "snapshot", 60, 1, 300) // not covered
	env.stage.Begin()
	env.approve(manager, "")
	set := inputs{"action": "invertedPush", "flowFile": flows, "flow": "released", "images": "shop/**:*"}
	env.task(set).want("done")
	env.task(inputs{"action": "recall", "source": prodHost + "/shop/recalled:1.0", "flowFile": flows, "reason": "CVE-2026-1234"}).want("done")
	pushImage(env.dev, "shop/web", "snapshot", 61, 1, 300)
	pushImage(env.dev, "tools/build", "1.0", 62, 1, 300)

	audit := inputs{"action": "audit", "flowFile": flows, "flow": "released"}
	o := env.task(audit).want("partial").says("Catalog Lister")
	if got := o.drifted(); !slices.Equal(got, []string{"unread dev/", "unread dev2/"}) {
		t.Errorf("without the right to list the targets: %q", got)
	}
	for _, r := range []*sim.Registry{env.dev, env.dev2} {
		r.Grant(clientID, "**", sim.CatalogLister...)
	}
	clean := env.task(audit).want("done")
	if got := clean.drifted(); len(got) != 0 {
		t.Errorf("after the push: %q", got)
	}
	states := map[any]int{}
	for i := range clean.at("images").([]any) {
		for _, target := range clean.at("images", i, "targets").([]any) {
			states[target.(map[string]any)["state"]]++
		}
	}
	if fmt.Sprint(states) != "map[present:12 withdrawn:1]" {
		t.Errorf("after the push: %v", states)
	}
	for _, r := range clean.requests {
		if r.Method != "GET" && r.Method != "HEAD" && !strings.Contains(r.Path, "oauth2") && !strings.HasSuffix(r.Path, "/token") && strings.HasSuffix(r.Host, ".azurecr.io") {
			t.Errorf("an audit sent %s %s%s", r.Method, r.Host, r.Path)
		}
	}

	env.broken = true
	env.dev.RemoveManifest("shop/missing", images["missing"].Digest)
	var index struct{ Manifests []struct{ Digest string } }
	_, content, _ := env.prod.Manifest("shop/part", "1.0")
	if err := json.Unmarshal(content, &index); err != nil {
		t.Fatal(err)
	}
	env.dev.RemoveManifest("shop/part", index.Manifests[0].Digest)
	pushImage(env.dev, "shop/differs", "1.0", 70, 1, 300)
	env.dev.RemoveManifest("shop/differs", images["differs"].Digest)
	pushImage(env.dev, "shop/moved", "1.0", 71, 1, 300)
	pushImage(env.dev, "shop/web", "9.9", 72, 1, 300)
	pushImage(env.dev, "shop/gone", "1.0", 73, 1, 300)
	env.dev.SetTagLock("shop/tag", "1.0", true, true)
	env.dev.SetManifestLock("shop/manifest", images["manifest"].Digest, true, true)
	env.dev.RemoveManifest("shop/sbom", sbom)
	env.dev.SetReadable("shop/recalled", images["recalled"].Digest, true)
	pushIndex(env.dev2, "shop/part", "1.0", 21)
	receipts := func(name string) (list []string) {
		for _, d := range env.dev.Referrers("shop/"+name, images[name].Digest) {
			_, manifest, _ := env.dev.Manifest("shop/"+name, d)
			if strings.Contains(string(manifest), receipt.ArtifactType) {
				list = append(list, d)
			}
		}
		if len(list) != 2 {
			t.Fatalf("%s has %d statements", name, len(list))
		}
		return list
	}
	for _, d := range receipts("noreceipt") {
		env.dev.RemoveManifest("shop/noreceipt", d)
	}
	env.dev.RemoveManifest("shop/invalid", receipts("invalid")[0])
	for i, d := range receipts("other") {
		env.dev.RemoveManifest("shop/other", d)
		mediaType, manifest, _ := env.dev.Manifest("shop/sbom", receipts("sbom")[i])
		var m struct {
			Config struct{ Digest string }
			Layers []struct{ Digest string }
		}
		if err := json.Unmarshal(manifest, &m); err != nil {
			t.Fatal(err)
		}
		for _, blob := range []string{m.Config.Digest, m.Layers[0].Digest} {
			content, _ := env.dev.Blob("shop/sbom", blob)
			env.dev.PutBlob("shop/other", content)
		}
		forged := strings.ReplaceAll(string(manifest), images["sbom"].Digest, images["other"].Digest)
		env.dev.Push("shop/other", "", mediaType, []byte(forged))
	}
	want := []string{
		"attached-missing dev/shop/sbom", "differs dev/shop/differs:1.0", "extra-tag dev/shop/gone:1.0", "extra-tag dev/shop/web:9.9",
		"missing dev/shop/missing:1.0", "missing dev/shop/part", "not-subscribed dev2/shop/part", "recalled-readable dev/shop/recalled", "receipt-invalid dev/shop/invalid",
		"receipt-missing dev/shop/noreceipt", "receipt-other dev/shop/other", "tag-moved dev/shop/moved:1.0",
		"unlocked dev/shop/manifest", "unlocked dev/shop/tag:1.0",
	}
	o = env.task(audit).want("partial")
	if got := o.drifted(); !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// The next push repairs what a push can repair.
	lines := ""
	for name := range images {
		if !slices.Contains([]string{"differs", "moved", "recalled"}, name) {
			lines += "shop/" + name + ":1.0\n"
		}
	}
	env.task(set.with("images", lines)).want("done")
	left := []string{
		"differs dev/shop/differs:1.0", "extra-tag dev/shop/gone:1.0", "extra-tag dev/shop/web:9.9", "not-subscribed dev2/shop/part",
		"recalled-readable dev/shop/recalled", "tag-moved dev/shop/moved:1.0",
	}
	if got := env.task(audit).want("partial").drifted(); !slices.Equal(got, left) {
		t.Errorf("after the next push\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(left, "\n"))
	}
}

// TestDriftUnread checks what an audit of a whole flow reports of registries that do not
// show their locks, do not respond, or are not Azure's, and of an image that is recalled by
// disabling its reads at the source, whether or not the source lists what refers to others.
func TestDriftUnread(t *testing.T) {
	env := newTestEnv(t)
	env.broken = true
	for _, hidden := range []sim.Hidden{sim.HiddenDisallow, sim.HiddenUnknown} {
		home := env.cloud.Registry("contosohome"+string(hidden)+".azurecr.io", sim.RegistryOptions{Tokens: env.directory,
			ReadDisabled: sim.ReadDisabled{Manifest: hidden, Attributes: hidden}, UnlistedReferrers: hidden == sim.HiddenUnknown})
		limited := env.cloud.Registry("contosolimited"+string(hidden)+".azurecr.io", sim.RegistryOptions{Tokens: env.directory})
		dead, targets := "", "limited, mirror" // the retries of a dead one take seconds
		if hidden == sim.HiddenDisallow {
			dead, targets = "contosodead.azurecr.io", targets+", dead"
		}
		mirror := env.cloud.Registry(string(hidden)+".mirror.example", sim.RegistryOptions{AnonymousPull: true})
		home.Grant(clientID, "**", sim.RepositoryReader...)
		limited.Grant(clientID, "**", "pull")
		flows := env.flowFile(`version: 1
trust: [sandbox, production]
registries:
  home: {host: ` + home.Host() + `, trust: production}
  limited: {host: ` + limited.Host() + `, trust: sandbox}
  dead: {host: contosodead.azurecr.io, trust: sandbox}
  mirror: {host: ` + mirror.Host() + `, trust: sandbox}
recall: {approval: {kind: manual, environment: Production}, source: block, elsewhere: delete}
flows:
  base:
    from: home
    to: [` + targets + `]
    repositories: [shop/a, shop/b, shop/c]
    lock: tag
    require: {approval: {kind: none}, sealed: false}
`)
		var signed, recalled descriptor
		for _, r := range []*sim.Registry{home, limited, mirror} {
			signed = pushImage(r, "shop/a", "1.0", 1, 1, 300)
			recalled = pushImage(r, "shop/c", "1.0", 3, 1, 300)
		}
		testimage.Attach(home, "shop/a", signed, "application/spdx+json", []byte("{}"))
		pushImage(home, "shop/b", "1.0", 2, 1, 300)
		pushImage(limited, "shop/b", "1.0", 2, 1, 300)
		pushImage(mirror, "shop/a", "2.0", 4, 1, 300)
		home.SetReadable("shop/c", recalled.Digest, false)
		audit := inputs{"action": "audit", "flowFile": flows, "flow": "base"}
		o := env.task(audit).want("partial").says("metadata/read", dead)
		var got []string
		for _, line := range o.drifted() {
			got = append(got, strings.ReplaceAll(line, string(hidden), ""))
		}
		slices.Sort(got)
		want := []string{
			"attached-missing /shop/a", "attached-missing limited/shop/a", "extra-tag /shop/a:2.0", "missing /shop/b:1.0", "recalled-readable /shop/c", "recalled-readable limited/shop/c",
			"unread limited/shop/a",
		}
		if dead != "" {
			want = slices.Insert(want, 6, "unread dead/shop/a")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: found\n%s\nwant\n%s", hidden, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
