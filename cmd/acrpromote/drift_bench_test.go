package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/maxrss"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// BenchmarkDrift audits a whole flow of 500 images of two platforms, each with an SBOM, at
// 20 targets, in registries that refuse what exceeds the limits of the tier Basic: in 500
// repositories, and in 50. It reports the requests to the source and to a target, the time,
// and the memory.
func BenchmarkDrift(b *testing.B) {
	for _, repositories := range []int{500, 50} {
		b.Run(fmt.Sprintf("%d repositories", repositories), func(b *testing.B) {
			for range b.N {
				benchDrift(b, 500, repositories, 20)
			}
		})
	}
}

func benchDrift(b *testing.B, images, repositories, targets int) {
	b.Helper()
	dir := b.TempDir()
	cloud, err := sim.Start(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer cloud.Close()
	network := cloud.Network("bench", prodAddress)
	const password = "a-benchmark-password"
	credentials := map[string]string{}
	var registries []*sim.Registry
	text, to := "version: 1\ntrust: [dev, production]\nregistries:\n", []string{}
	for i := range targets + 1 {
		name, trust := fmt.Sprintf("contosodev%02d", i), "dev"
		if i == 0 {
			name, trust = "contosoprod", "production"
		} else {
			to = append(to, name)
		}
		r := cloud.Registry(name+".azurecr.io", sim.RegistryOptions{Limits: sim.BasicLimits})
		r.AddUser("bench", password)
		r.Grant("bench", "**", sim.RepositoryReader...)
		r.Grant("bench", "**", sim.CatalogLister...)
		credentials[r.Host()] = "bench:" + password
		registries = append(registries, r)
		text += fmt.Sprintf("  %s: {host: %s, trust: %s}\n", name, r.Host(), trust)
		for n := range images {
			repository, tag := fmt.Sprintf("shop/app%d", n%repositories), fmt.Sprintf("1.%d", n/repositories)
			testimage.Attach(r, repository, pushIndex(r, repository, tag, n), "application/spdx+json", []byte("{}"))
		}
	}
	text += "flows:\n  nightly: {from: contosoprod, to: [" + strings.Join(to, ", ") + "], require: {approval: {kind: none}, sealed: false}}\n"
	dockerConfig(b, dir, credentials)
	if err := os.WriteFile(filepath.Join(dir, "flows.yml"), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	command := exec.Command(plainBinary, "audit", "--flowFile", "flows.yml", "--flow", "nightly", "--reportFolder", dir)
	command.Dir = dir
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "DOCKER_CONFIG=" + dir, "HTTPS_PROXY=" + network.ProxyURL(), "SSL_CERT_FILE=" + cloud.CAFile(),
		"AZURE_TOKEN_CREDENTIALS=EnvironmentCredential"}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	started := time.Now()
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	peak := maxrss.Watch(command.Process.Pid)
	err = command.Wait()
	took := time.Since(started)
	if err != nil {
		output, _ := os.ReadFile(log.Name())
		b.Fatalf("%v\n%.3000s", err, output)
	}
	content, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if err != nil {
		b.Fatal(err)
	}
	var result struct {
		Drift   []any
		Traffic []struct {
			Registry string
			Requests struct{ Read, Referrers, Token float64 }
			Retries  float64
		}
	}
	if err := json.Unmarshal(content, &result); err != nil || result.Drift == nil || len(result.Drift) != 0 {
		b.Fatalf("drift %v, %v", result.Drift, err)
	}
	for _, t := range result.Traffic {
		side := ""
		switch t.Registry {
		case registries[0].Host():
			side = "source"
		case registries[1].Host():
			side = "target"
		default:
			continue
		}
		b.ReportMetric(t.Requests.Read, side+"-reads")
		b.ReportMetric(t.Requests.Referrers, side+"-lists")
	}
	refused := 0
	for _, r := range registries {
		refused += len(r.Refused())
	}
	b.ReportMetric(float64(refused), "refused")
	b.ReportMetric(took.Seconds(), "s")
	b.ReportMetric(float64(peak(command.ProcessState))/(1<<20), "MiB")
	b.ReportMetric(0, "ns/op")
}
