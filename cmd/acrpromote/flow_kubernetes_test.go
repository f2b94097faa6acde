package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/maxrss"
	"acrpromote/internal/sim"
)

// kubernetes has an image in each place where one is found: HOST is the source, and
// PIN a digest.
const kubernetes = `# Source: shop/templates/cart.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart
  annotations: {example.com/previous: "HOST/base/seen-annotation:1"}
spec:
  template:
    spec:
      initContainers: [{name: wait, image: HOST/base/init:1}]
      containers:
      - name: cart
        image: HOST/base/pinned:1@PIN
        args: ["--helper=HOST/base/seen-args:1"]
        env: [{name: SIDECAR, value: HOST/base/seen-env:1}]
      - {name: proxy, image: "HOST/base/untagged"}
      - {name: redis, image: redis:7}
      volumes:
      - {name: model, image: {reference: HOST/base/volume:1, pullPolicy: Always}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data:
  app.properties: |
    first=1
    runner=HOST/base/seen-config:1
---
apiVersion: argoproj.io/v1alpha1
kind: Workflow
spec:
  templates:
  - {name: a, container: {image: HOST/base/argo:1}}
  - {name: b, script: {image: "HOST/base/argo-{{inputs.parameters.name}}:1"}}
---
apiVersion: tekton.dev/v1
kind: Task
spec: {steps: [{name: a, image: HOST/base/tekton:1}]}
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
spec: {predictor: {model: {storageUri: "oci://HOST/base/model:1"}}}
---
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
spec: {image: HOST/base/prometheus:1}
---
apiVersion: example.com/v1
kind: Shop
spec: {image: {registry: HOST, repository: base/mapping, tag: "1"}}
`

// kubernetesEnv is an environment whose source has the images of a file: each in
// its repository, with the tag 1 or latest.
func kubernetesEnv(t *testing.T) (*testEnv, map[string]descriptor) {
	t.Helper()
	env := newTestEnv(t)
	env.stage.Begin()
	images := map[string]descriptor{}
	for i, name := range []string{"init", "pinned", "volume", "argo", "tekton", "model", "prometheus", "mapping", "untagged"} {
		tag := "1"
		if name == "untagged" {
			tag = "latest"
		}
		images["base/"+name+":"+tag] = pushImage(env.prod, "base/"+name, tag, 60+i, 1, 200)
	}
	return env, images
}

func (env *testEnv) manifests(text, pin string) inputs {
	env.t.Helper()
	text = strings.NewReplacer("HOST", prodHost, "PIN", pin).Replace(text)
	return inputs{"action": "invertedPush", "flowFile": env.flowFile(sandbox), "flow": "base", "imagesFrom": env.file("deploy.yml", text)}
}

// TestSetOfKubernetesFile checks that every image of a Kubernetes file arrives
// under its tag, and that everything else is reported with file, line and path.
func TestSetOfKubernetesFile(t *testing.T) {
	env, images := kubernetesEnv(t)
	set := env.manifests(kubernetes, images["base/pinned:1"].Digest)
	o := env.task(set).want("done")
	if n := len(o.at("images").([]any)); n != len(images) {
		t.Errorf("%d images, want %d", n, len(images))
	}
	for name, image := range images {
		repository, tag, _ := strings.Cut(name, ":")
		env.tagged(env.dev, repository, tag, image)
		env.tagged(env.dev2, repository, tag, image)
	}
	warnings := strings.Join(o.warnings, "\n")
	for _, want := range []string{
		":6: seen and left out: " + prodHost + "/base/seen-annotation:1: it is not where a known resource has an image, in Deployment/cart: metadata.annotations[\"example.com/previous\"]",
		":14: seen and left out: " + prodHost + "/base/seen-args:1: it is not where a known resource has an image, in Deployment/cart: spec.template.spec.containers[0].args[0]",
		":15: seen and left out: " + prodHost + "/base/seen-env:1: it is not where a known resource has an image, in Deployment/cart: spec.template.spec.containers[0].env[0].value",
		":16: " + prodHost + "/base/untagged: it has no tag, which is latest in Kubernetes, in Deployment/cart: spec.template.spec.containers[1].image",
		":17: seen and left out: redis:7: it is on Docker Hub",
		":27: seen and left out: " + prodHost + "/base/seen-config:1: it is not where a known resource has an image, in ConfigMap/settings: data[\"app.properties\"]",
		":34: seen and left out: " + prodHost + "/base/argo-{{inputs.parameters.name}}:1: it has a parameter",
	} {
		if !strings.Contains(warnings, "deploy.yml"+want) {
			t.Errorf("no warning %q in\n%s", want, warnings)
		}
	}
	if o = env.task(set).want("done"); o.output["changed"] != "false" || uploads(o.requests, devHost) != 0 {
		t.Error("the rerun wrote")
	}
	env.task(set.with("action", "audit")).want("done")
}

// TestTagWithDigest checks that an image with a tag and a digest has its tag judged
// by the flow, and is refused if the source's tag has another digest.
func TestTagWithDigest(t *testing.T) {
	env, images := kubernetesEnv(t)
	pod := func(images ...string) string {
		text := "kind: Pod\nspec:\n  containers:\n"
		for _, image := range images {
			text += "  - image: HOST/base/" + image + "\n"
		}
		return text
	}
	right, wrong := images["base/pinned:1"].Digest, images["base/init:1"].Digest
	env.task(env.manifests(pod("pinned:1@PIN", "argo:1"), wrong)).refusedBy("digest-differs").says(prodHost+"/base/pinned:1", right, wrong)
	env.task(env.manifests(pod("pinned:1@PIN", "pinned:1@"+wrong), right)).refusedBy("digest-differs")
	env.task(env.manifests(pod("pinned:1", "pinned:1@PIN"), wrong)).refusedBy("digest-differs")
	if held("base/argo", "1", env.dev, env.dev2)+held("base/pinned", "1", env.dev, env.dev2) != "" {
		t.Error("a refused set was copied in part")
	}
	limited := strings.Replace(sandbox, `    repositories: ["base/*"]`, "    repositories: [\"base/*\"]\n    tags: [\"2*\"]", 1)
	env.task(env.manifests(pod("pinned:1@PIN"), right).with("flowFile", env.flowFile(limited))).refusedBy("not-in-flow").says("base/pinned:1")
	env.task(env.manifests(pod("pinned@PIN"), right)).want("done")
	if held("base/pinned", "1", env.dev, env.dev2) != "" {
		t.Error("an image by digest alone got a tag")
	}
	o := env.task(env.manifests(pod("pinned:1@PIN", "pinned:1"), right)).want("done")
	if n := len(o.at("images").([]any)); n != 1 {
		t.Errorf("%d images, want 1", n)
	}
	env.tagged(env.dev, "base/pinned", "1", images["base/pinned:1"])
	// Each of two parallel jobs has the digest of the whole set, also if the other
	// copies the image with a tag and a digest.
	want, copied := setDigest("base/pinned@"+right, "base/argo@"+images["base/argo:1"].Digest, "base/init@"+wrong), 0
	for n := range 2 {
		o := env.task(env.manifests(pod("pinned:1@PIN", "argo:1", "init:1@"+wrong), right), func(e *fakeagent.Environment) {
			e.Parallel = &fakeagent.ParallelJob{Kind: "MultiMachine", Position: n + 1, Total: 2}
		}).want("done")
		if o.output["digest"] != want {
			t.Errorf("job %d has the digest %s, want %s", n+1, o.output["digest"], want)
		}
		copied += len(o.at("images").([]any))
	}
	if copied != 3 {
		t.Errorf("the jobs have %d images, want 3", copied)
	}
	list := env.file("images.txt", "base/argo:1@"+images["base/argo:1"].Digest+"\nbase/pin*:*\n")
	env.prod.Grant(clientID, "**", sim.CatalogLister...)
	env.task(env.manifests("", "").with("imagesFrom", list)).want("done")
	env.tagged(env.dev2, "base/argo", "1", images["base/argo:1"])
}

// largeKubernetes returns some 10 MiB of pods with the given images: as several
// documents, as a List in YAML, and as one in JSON.
func largeKubernetes(names ...string) map[string]string {
	labels := map[string]any{}
	var block strings.Builder
	for i := range 30 {
		key, value := fmt.Sprintf("example.com/label-%d", i), fmt.Sprintf("value-%d", i)
		labels[key] = value
		fmt.Fprintf(&block, "      %s: %s\n", key, value)
	}
	var items []any
	var documents, list strings.Builder
	list.WriteString("apiVersion: v1\nkind: List\nitems:\n")
	for n := 0; documents.Len() < 10<<20; n++ {
		image := names[n%len(names)]
		item := map[string]any{
			"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": fmt.Sprint("pod-", n), "labels": labels},
			"spec": map[string]any{"containers": []any{map[string]any{"name": "a", "image": image}}},
		}
		text, _ := json.MarshalIndent(item, "  ", "  ")
		fmt.Fprintf(&documents, "---\n%s\n", text)
		items = append(items, item)
		fmt.Fprintf(&list, "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: pod-%d\n    labels:\n%s  spec:\n    containers:\n    - name: a\n      image: %s\n", n, block.String(), image)
	}
	text, _ := json.MarshalIndent(map[string]any{"apiVersion": "v1", "kind": "List", "items": items}, "", "    ")
	return map[string]string{"documents": documents.String(), "List": list.String(), "JSON": string(text)}
}

// TestLargeKubernetesFile checks 10 MiB of manifests.
func TestLargeKubernetesFile(t *testing.T) {
	env, images := kubernetesEnv(t)
	for name, text := range largeKubernetes(prodHost+"/base/init:1", prodHost+"/base/argo:1", prodHost+"/base/tekton:1") {
		o := env.task(env.manifests("", "").with("imagesFrom", env.file("large", text))).want("done")
		if n := len(o.at("images").([]any)); n != 3 {
			t.Errorf("%s: %d images, want 3", name, n)
		}
	}
	env.tagged(env.dev, "base/tekton", "1", images["base/tekton:1"])
}

// maxKubernetesMemory is how much more than a small file 10 MiB of manifests may
// take: the file, its text, and the largest document.
const maxKubernetesMemory = 96 << 20

// TestKubernetesMemory checks that the memory for a file is bounded.
func TestKubernetesMemory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("flows.yml", sandbox)
	peak := func(manifests string) int64 {
		write("deploy.yml", manifests)
		command := exec.Command(plainBinary, "invertedPush", "--flowFile", "flows.yml", "--flow", "base", "--imagesFrom", "deploy.yml") // the race detector takes memory of its own
		command.Env, command.Dir = []string{"HOME=" + dir, "DOCKER_CONFIG=" + dir}, dir
		var output bytes.Buffer
		command.Stdout, command.Stderr = &output, &output
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		most := maxrss.Watch(command.Process.Pid)
		_ = command.Wait()
		if text := strings.Join(strings.Fields(output.String()), " "); !strings.Contains(text, "no image of registry "+prodHost+" found") {
			t.Fatalf("%.2000s", text)
		}
		return most(command.ProcessState)
	}
	small := peak("kind: Pod\n")
	for name, text := range largeKubernetes("redis:7") {
		if more := peak(text) - small; more > maxKubernetesMemory {
			t.Errorf("%s: %d MiB more than for a small file", name, more>>20)
		} else {
			t.Logf("%s: %d MiB more than for a small file", name, more>>20)
		}
	}
}
