package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
)

// BenchmarkFanOut copies a set of images to 20 targets, and measures when the last
// tag appears at 18 of them while one of the others is dead, one is throttled, both,
// or neither. A few images show delays that many images hide. requests is the number
// of requests for observing the set; least is the minimum: a tag and a list of
// referrers of each image at the source, and a tag of each image at each target.
func BenchmarkFanOut(b *testing.B) {
	for _, images := range []int{10, 100} {
		for _, c := range []struct {
			name            string
			dead, throttled bool
		}{{"18 targets", false, false}, {"one dead", true, false}, {"one throttled", false, true}, {"both", true, true}} {
			b.Run(fmt.Sprintf("%d images, %s", images, c.name), func(b *testing.B) {
				for range b.N {
					benchFan(b, newFan(b, images, c.dead, c.throttled))
				}
			})
		}
	}
}

func benchFan(b *testing.B, f *fan) {
	b.Helper()
	defer f.cloud.Close()
	last, took := f.push(b)
	b.ReportMetric(last.Seconds(), "s-18-done")
	b.ReportMetric(took.Seconds(), "s-all")
	b.ReportMetric(0, "ns/op")
	if f.code == 0 {
		b.ReportMetric(float64(f.audit(b)), "requests")
		b.ReportMetric(float64(len(f.images)*(2+len(f.targets))), "least")
	}
}

type fan struct {
	cloud   *sim.Cloud
	home    *sim.Registry
	targets []*sim.Registry
	images  []string
	environ []string
	dir     string
	code    int // how a push ends
}

func newFan(b *testing.B, images int, dead, throttled bool) *fan {
	b.Helper()
	dir := b.TempDir()
	cloud, err := sim.Start(dir)
	if err != nil {
		b.Fatal(err)
	}
	f := &fan{cloud: cloud, dir: dir}
	network := cloud.Network("bench", prodAddress)
	const password = "a-benchmark-password"
	credentials := map[string]string{}
	open := func(host string) *sim.Registry {
		r := cloud.Registry(host, sim.RegistryOptions{})
		r.AddUser("bench", password)
		r.Grant("bench", "**", sim.RepositoryWriter...)
		r.Grant("bench", "**", sim.CatalogLister...)
		credentials[host] = "bench:" + password
		return r
	}
	f.home = open(prodHost)
	for i := range images {
		repository := fmt.Sprintf("shop/app%d", i)
		pushImage(f.home, repository, "1.0", i, 1, 1024)
		f.images = append(f.images, repository+":1.0")
	}
	text, to := "version: 1\ntrust: [dev, production]\nregistries:\n  prod: {host: "+prodHost+", trust: production}\n", ""
	add := func(host string) *sim.Registry {
		name, _, _ := strings.Cut(host, ".")
		text += fmt.Sprintf("  %s: {host: %s, trust: dev}\n", name, host)
		to += name + ", "
		return open(host)
	}
	for i := range 18 {
		f.targets = append(f.targets, add(fmt.Sprintf("contosodev%02d.azurecr.io", i)))
	}
	if dead || throttled {
		f.code = 4
	}
	if dead {
		add("contosodead.azurecr.io")
	}
	if throttled {
		add("contosobusy.azurecr.io")
	}
	cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasPrefix(r.Host, "contosodead."):
			panic(http.ErrAbortHandler)
		case strings.HasPrefix(r.Host, "contosobusy."):
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		return false
	})
	text += "flows:\n  nightly: {from: prod, to: [" + to + "], repositories: [\"shop/*\"], require: {approval: {kind: none}, sealed: false}}\n"
	dockerConfig(b, dir, credentials)
	for name, content := range map[string][]byte{"flows.yml": []byte(text), "images.txt": []byte(strings.Join(f.images, "\n"))} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	f.environ = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "DOCKER_CONFIG=" + dir, "HTTPS_PROXY=" + network.ProxyURL(), "SSL_CERT_FILE=" + cloud.CAFile(),
		"AZURE_TOKEN_CREDENTIALS=EnvironmentCredential"}
	return f
}

func (f *fan) run(b *testing.B, action string) (code int, output string, took time.Duration) {
	b.Helper()
	command := exec.Command(plainBinary, action, "--flowFile", "flows.yml", "--flow", "nightly", "--imagesFrom", "images.txt", "--output", "json")
	command.Env, command.Dir = f.environ, f.dir
	started := time.Now()
	out, _ := command.CombinedOutput()
	return command.ProcessState.ExitCode(), string(out), time.Since(started)
}

// push returns when the last of the 18 had its last tag, and when the run ended.
func (f *fan) push(b *testing.B) (last, took time.Duration) {
	b.Helper()
	started := time.Now()
	code, output, took := f.run(b, "invertedPush")
	if code != f.code {
		b.Fatalf("exit code %d\n%.3000s", code, output)
	}
	for _, r := range f.targets {
		for _, image := range f.images {
			repository, tag, _ := strings.Cut(image, ":")
			a, ok := r.TagAttributes(repository, tag)
			if !ok {
				b.Fatalf("%s lacks %s", r.Host(), image)
			}
			last = max(last, a.Updated.Sub(started))
		}
	}
	return last, took
}

// audit returns the number of requests for observing the whole set.
func (f *fan) audit(b *testing.B) int {
	b.Helper()
	mark := f.cloud.Mark()
	if code, output, _ := f.run(b, "audit"); code != 0 {
		b.Fatalf("audit: exit code %d\n%.3000s", code, output)
	}
	n := 0
	for _, r := range f.cloud.Since(mark) {
		if strings.HasPrefix(r.Path, "/v2/") || strings.HasPrefix(r.Path, "/acr/") {
			n++
		}
	}
	return n
}
