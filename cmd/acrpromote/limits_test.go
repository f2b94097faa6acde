package main_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// limitedTest is a flow from one registry to two, all with the same limits.
type limitedTest struct {
	*testEnv
	registries []*sim.Registry // the source first
	limits     sim.Limits
	flow       string
	images     []string
}

// quarterLimits are a quarter of the limits of the tier Basic in 5 seconds instead of
// all of them in a minute, so that a test takes no minutes.
var quarterLimits = sim.Limits{
	Window: 5 * time.Second, Read: sim.BasicLimits.Read / 4, Write: sim.BasicLimits.Write / 4, Referrers: sim.BasicLimits.Referrers / 4,
}

func newLimitedTest(t *testing.T, images int, limits sim.Limits) *limitedTest {
	t.Helper()
	env := newTestEnv(t)
	env.stage.Begin()
	env.patience = 10 * time.Minute
	l := &limitedTest{testEnv: env, limits: limits}
	hosts := []string{"contosobig.azurecr.io", "contosoleft.azurecr.io", "contosoright.azurecr.io"}
	for _, host := range hosts {
		r := env.cloud.Registry(host, sim.RegistryOptions{Tokens: env.directory, Now: env.clock.now, Limits: limits})
		r.Grant(clientID, "**", sim.RepositoryWriter...)
		l.registries = append(l.registries, r)
	}
	l.flow = env.flowFile(strings.NewReplacer(prodHost, hosts[0], devHost, hosts[1], dev2Host, hosts[2]).Replace(sandbox))
	for i := range images {
		// Of 25 kinds, so that most layers are in the target registry already.
		pushImage(l.registries[0], fmt.Sprintf("base/app-%03d", i), "1.0", i%25, 1, 200)
		l.images = append(l.images, fmt.Sprintf("base/app-%03d:1.0", i))
	}
	return l
}

func (l *limitedTest) set(action string, images int) inputs {
	return inputs{"action": action, "flowFile": l.flow, "flow": "base", "images": strings.Join(l.images[:images], "\n")}
}

// run runs the program, checks that nothing is refused after the first window in which
// a limit was exceeded, and returns how long it took.
func (l *limitedTest) run(in inputs, name string) (o outcome, took time.Duration) {
	l.t.Helper()
	before := map[string]int{}
	for _, r := range l.registries {
		before[r.Host()] = len(r.Refused())
	}
	start := time.Now()
	o = l.task(in).want("done")
	took = time.Since(start)
	for _, r := range l.registries {
		begun, first := map[string]time.Time{}, map[string]time.Time{} // by kind
		for _, request := range o.requests {
			if kind := limitedKind(request.Method, request.Path); request.Host == r.Host() && begun[kind].IsZero() {
				begun[kind] = request.Time
			}
		}
		late := 0
		refused := r.Refused()[before[r.Host()]:]
		for _, refusal := range refused {
			at := refusal.Kind
			if first[at].IsZero() {
				first[at] = refusal.At
			}
			// On a machine so busy that it takes several short windows to exceed a
			// limit, their length is known only once two have ended.
			slow := l.limits.Window < time.Minute && first[at].Sub(begun[at]) > l.limits.Window
			if !slow && refusal.At.Sub(first[at]) > l.limits.Window {
				late++
			}
		}
		l.t.Logf("%s: %s: %d requests refused, %d after the first window", name, r.Host(), len(refused), late)
		if late > 0 || len(refused) > 200 {
			l.t.Errorf("%s: %s refused %d requests, %d of them after the first window in which it refused any", name, r.Host(), len(refused), late)
		}
	}
	return o, took
}

// limitedKind is the kind of a request by which registries limit it.
func limitedKind(method, path string) string {
	switch {
	case strings.HasPrefix(path, "/oauth2/"):
		return "token"
	case strings.Contains(path, "/referrers/"):
		return "referrers"
	case method == http.MethodGet || method == http.MethodHead:
		return "read"
	}
	return "write"
}

// least is the time that the limits require for what was sent: a window for each
// full quota but the first. All is read before anything is written.
func (l *limitedTest) least(o outcome) time.Duration {
	counted := map[string]int{}
	for _, r := range o.requests {
		if r.Status != http.StatusTooManyRequests {
			counted[r.Host+" "+limitedKind(r.Method, r.Path)]++
		}
	}
	var lists, writes time.Duration
	for _, r := range l.registries {
		lists = max(lists, time.Duration((counted[r.Host()+" referrers"]-1)/l.limits.Referrers)*l.limits.Window)
		writes = max(writes, time.Duration((counted[r.Host()+" write"]-1)/l.limits.Write)*l.limits.Window)
	}
	l.t.Logf("%v", counted)
	return lists + writes
}

// TestLimitsAreKept pushes many images to two targets, and then a part of them again:
// at all three registries nothing is refused once their limits are known, requests
// are held back for little longer than they require, and the time is reported. For
// 500 images see docs/development.md.
func TestLimitsAreKept(t *testing.T) {
	images, limits := 120, quarterLimits
	if n, err := strconv.Atoi(os.Getenv("ACRPROMOTE_LIMIT_IMAGES")); err == nil {
		images, limits = n, sim.BasicLimits
	}
	l := newLimitedTest(t, images, limits)
	o, took := l.run(l.set("invertedPush", images), "first run")
	least := l.least(o)
	held := 0.0
	for _, traffic := range o.at("traffic").([]any) {
		held = max(held, traffic.(map[string]any)["heldMs"].(float64))
	}
	t.Logf("%d images took %s; the limits require %s; held back for %.1f s", images, took, least, held/1000)
	// The rest of the time is the machine's: one that is very busy may not even come to
	// the limits.
	refused := len(l.registries[0].Refused()) > 0
	if waited := time.Duration(held) * time.Millisecond; waited > least*12/10+time.Second || (waited > 0) != refused {
		t.Errorf("requests were held back for %s, where the limits require %s", waited, least)
	}
	for i := range images {
		for _, r := range l.registries[1:] {
			if r.TagDigest(fmt.Sprintf("base/app-%03d", i), "1.0") == "" {
				t.Errorf("%s lacks image %d", r.Host(), i)
			}
		}
	}
	// Now the targets list referrers too.
	some := images / 3
	again, _ := l.run(l.set("invertedPush", some), "again")
	if again.output["changed"] != "false" {
		t.Error("the rerun changed something")
	}
	l.run(l.set("audit", some), "audit")
}

// TestTagsAreListedOnce checks that the list of a repository's tags which a pattern
// took also shows what is attached by tags.
func TestTagsAreListedOnce(t *testing.T) {
	env := newTestEnv(t)
	env.three()
	signature := strings.Replace(env.prod.TagDigest("shop/pay", "1.0"), ":", "-", 1) + ".sig"
	testimage.Put(env.prod, "shop/pay", signature, testimage.Signature(layer(7, 0, 512)))
	env.ready()
	o := env.task(inputs{"action": "invertedPush", "flowFile": env.flowFile(sandbox), "flow": "released", "images": "shop/*:*"}).want("done")
	lists := 0
	for _, request := range o.asked(prodHost) {
		if strings.HasSuffix(request, "/tags/list") {
			lists++
		}
	}
	if lists != 2 {
		t.Errorf("the tags of two repositories were listed %d times", lists)
	}
	if env.dev.TagDigest("shop/pay", signature) == "" {
		t.Error("the signature was not copied")
	}
}
