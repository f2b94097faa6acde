package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"acrpromote/internal/sim"
)

// TestForgeries checks that the variables about the run are only claims. Each case
// makes a real approval of something else look like this job's.
func TestForgeries(t *testing.T) {
	for _, c := range []struct {
		name  string
		forge func(t *testing.T, env *testEnv, environ []string) []string
		rules string // "" is granted: the forgery is worth nothing
	}{
		{"the id of another run", func(t *testing.T, env *testEnv, e []string) []string {
			return forged(e, "BUILD_BUILDID", fmt.Sprint(env.project.QueueRun(sim.RunOptions{}).ID()))
		}, "run-mismatch"},
		{"the plan of another run", func(t *testing.T, env *testEnv, e []string) []string {
			return forged(e, "SYSTEM_PLANID", env.project.QueueRun(sim.RunOptions{}).PlanID())
		}, "run-mismatch"},
		{"id and plan of another run whose stage is approved", func(t *testing.T, env *testEnv, e []string) []string {
			other := env.project.QueueRun(sim.RunOptions{RequestedFor: developer})
			stage := other.Stage("Production", env.environment)
			if err := stage.Approve(manager, ""); err != nil {
				t.Fatal(err)
			}
			stage.Begin()
			return forged(e, "BUILD_BUILDID", fmt.Sprint(other.ID()), "SYSTEM_PLANID", other.PlanID(), "SYSTEM_TIMELINEID", other.PlanID())
		}, "run-mismatch"},
		{"a job of another stage", func(t *testing.T, env *testEnv, e []string) []string {
			other := env.run.Stage("Test", env.connection)
			other.Begin()
			return forged(e, "SYSTEM_JOBID", other.JobID())
		}, "approval-missing run-mismatch"},
		{"the name of another stage", func(t *testing.T, env *testEnv, e []string) []string {
			env.run.Stage("Test", env.connection).Begin()
			return forged(e, "SYSTEM_STAGENAME", "Test")
		}, "run-mismatch"},
		{"the record of another stage", func(t *testing.T, env *testEnv, e []string) []string {
			other := env.run.Stage("Test", env.connection)
			return forged(e, "SYSTEM_STAGEID", other.ID())
		}, "run-mismatch"},
		{"an older agent without the id of the stage record", func(t *testing.T, env *testEnv, e []string) []string {
			return forged(e, "SYSTEM_STAGEID", "-")
		}, ""},
		{"another attempt", func(t *testing.T, env *testEnv, e []string) []string { return forged(e, "SYSTEM_STAGEATTEMPT", "2") }, "run-mismatch"},
		{"a job that is over", func(t *testing.T, env *testEnv, e []string) []string {
			env.run.MutateTimeline(func(d map[string]any) {
				for _, r := range d["records"].([]any) {
					if m := r.(map[string]any); m["id"] == env.stage.JobID() {
						m["state"] = "completed"
					}
				}
			})
			return e
		}, "run-mismatch"},
		{"no job", func(t *testing.T, env *testEnv, e []string) []string { return forged(e, "SYSTEM_JOBID", "-") }, "run-mismatch"},
		{"another project", func(t *testing.T, env *testEnv, e []string) []string {
			return forged(e, "SYSTEM_TEAMPROJECTID", env.organization.Project("playground").ID())
		}, "approval-unreadable run-mismatch"},
		{"RELEASE_* in a YAML run", func(t *testing.T, env *testEnv, e []string) []string {
			return forged(e, "RELEASE_RELEASEID", "1", "RELEASE_ENVIRONMENTID", "1", "RELEASE_ENVIRONMENTNAME", "Production", "RELEASE_ATTEMPTNUMBER", "1", "RELEASE_DEPLOYMENTID", "1")
		}, ""},
		{"a host type that is invalid", func(t *testing.T, env *testEnv, e []string) []string { return forged(e, "SYSTEM_HOSTTYPE", "gates") }, "run-mismatch"},
		{"the token of another run", func(t *testing.T, env *testEnv, e []string) []string {
			env.run.MutateClaims(func(d map[string]any) { d["run_id"] = "1" })
			return e
		}, "run-mismatch"},
		{"the token of another pipeline", func(t *testing.T, env *testEnv, e []string) []string {
			env.run.MutateClaims(func(d map[string]any) { d["def_id"] = "99" })
			return e
		}, "run-mismatch"},
		{"the token of another project", func(t *testing.T, env *testEnv, e []string) []string {
			env.run.MutateClaims(func(d map[string]any) { d["prj_id"] = env.organization.Project("playground").ID() })
			return e
		}, "run-mismatch"},
		{"a suite of another run", func(t *testing.T, env *testEnv, e []string) []string {
			env.run.MutateSuite(func(d map[string]any) {
				text := strings.NewReplacer(fmt.Sprint(env.run.ID()), "1")
				replaceNumbers(d, env.run.ID(), 1, text)
			})
			return e
		}, "run-mismatch"},
		{"a claimed requester tightens", func(t *testing.T, env *testEnv, e []string) []string {
			return forged(e, "BUILD_REQUESTEDFORID", manager.ID)
		}, "requester-approved"},
		{"a claimed requester relaxes nothing", func(t *testing.T, env *testEnv, e []string) []string {
			env.queue()
			env.approve(developer, "")
			return forged(env.environ(env.stage, push()), "BUILD_REQUESTEDFORID", manager.ID, "BUILD_QUEUEDBYID", manager.ID)
		}, "requester-approved"},
		{"SYSTEM_COLLECTIONURI elsewhere", func(t *testing.T, env *testEnv, e []string) []string {
			return forged(e, "SYSTEM_COLLECTIONURI", "https://evil.example/contoso/", "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI", "https://evil.example/contoso/")
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, _ := ready(t)
			evil := env.evil("evil.example")
			environ := c.forge(t, env, env.environ(env.stage, push()))
			o := env.execute(environ)
			if c.rules == "" {
				o.want("done")
			} else {
				o.refusedBy(strings.Fields(c.rules)...)
				env.untouched(env.dev)
			}
			if got := evil(); len(got) != 0 {
				t.Errorf("the other host was asked: %v", got)
			}
		})
	}
}

// replaceNumbers replaces a run's id everywhere, as a number or as text.
func replaceNumbers(value any, from, to int, text *strings.Replacer) any {
	switch v := value.(type) {
	case map[string]any:
		for k, inner := range v {
			v[k] = replaceNumbers(inner, from, to, text)
		}
	case []any:
		for i, inner := range v {
			v[i] = replaceNumbers(inner, from, to, text)
		}
	case float64:
		if v == float64(from) {
			return float64(to)
		}
	case string:
		return text.Replace(v)
	}
	return value
}

// evil adds a host of an attacker; the function returns the requests to it.
func (env *testEnv) evil(host string) func() []string {
	env.cloud.Handle(host, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprint(rw, `{"oidcToken":"x.y.z","access_token":"x","refresh_token":"y","token":"z"}`)
	}))
	return func() []string {
		var list []string
		for _, r := range env.cloud.Requests() {
			if r.Host == host {
				list = append(list, r.Method+" "+r.Path+" "+r.Authorization)
			}
		}
		return list
	}
}

// TestRunToken tests the responses to the request for the run's own token.
func TestRunToken(t *testing.T) {
	for _, c := range []struct {
		name  string
		forge func(env *testEnv, environ []string) []string
		rules string
		told  string
	}{
		{"matched", func(env *testEnv, e []string) []string { return e }, "", "matched"},
		{"no address", func(env *testEnv, e []string) []string { return forged(e, "SYSTEM_OIDCREQUESTURI", "-") }, "", "matched"},
		{"no address and no token", func(env *testEnv, e []string) []string {
			env.organization.SetRunToken(sim.RunTokenNoAddress)
			return forged(e, "SYSTEM_OIDCREQUESTURI", "-")
		}, "", "absent (the server provides none (status 404))"},
		{"404", func(env *testEnv, e []string) []string { return env.oidc(e, 404) }, "", "absent"},
		{"405", func(env *testEnv, e []string) []string { return env.oidc(e, 405) }, "", "absent"},
		{"refused", func(env *testEnv, e []string) []string {
			env.organization.SetRunToken(sim.RunTokenRefused)
			return e
		}, "", "absent (the server refuses it without a service connection (status 400: There is no explicit reference to a service connection"},
		{"refused, in a message", func(env *testEnv, e []string) []string {
			env.organization.SetRunToken(sim.RunTokenRefused)
			env.organization.RefuseInMessage()
			return e
		}, "", "absent (the server refuses it without a service connection (status 400: There is no explicit reference to a service connection"},
		{"refused, and the plan is another run's", func(env *testEnv, e []string) []string {
			env.organization.SetRunToken(sim.RunTokenRefused)
			other := env.project.QueueRun(sim.RunOptions{RequestedFor: developer})
			stage := other.Stage("Production", env.environment)
			if err := stage.Approve(manager, ""); err != nil {
				env.t.Fatal(err)
			}
			stage.Begin()
			return forged(e, "BUILD_BUILDID", fmt.Sprint(other.ID()), "SYSTEM_PLANID", other.PlanID())
		}, "run-mismatch", ""},
		{"401", func(env *testEnv, e []string) []string { return env.oidc(e, 401) }, "run-mismatch", ""},
		{"403", func(env *testEnv, e []string) []string { return env.oidc(e, 403) }, "run-mismatch", ""},
		{"500", func(env *testEnv, e []string) []string { return env.oidc(e, 500) }, "approval-unreadable", ""},
		{"another host", func(env *testEnv, e []string) []string {
			return forged(e, "SYSTEM_OIDCREQUESTURI", "https://evil.example/oidc")
		}, "run-mismatch", ""},
		{"a host that looks alike", func(env *testEnv, e []string) []string {
			return forged(e, "SYSTEM_OIDCREQUESTURI", "https://dev.azure.com.evil.example/oidc")
		}, "run-mismatch", ""},
		{"a user before the host", func(env *testEnv, e []string) []string {
			return forged(e, "SYSTEM_OIDCREQUESTURI", "https://dev.azure.com@evil.example/oidc")
		}, "run-mismatch", ""},
		{"plain HTTP", func(env *testEnv, e []string) []string {
			return forged(e, "SYSTEM_OIDCREQUESTURI", "http://dev.azure.com/contoso/oidc")
		}, "run-mismatch", ""},
	} {
		for _, kind := range []string{"secret", "federated"} {
			if (strings.HasPrefix(c.told, "absent") && c.name != "refused" || strings.HasPrefix(c.name, "no address")) && kind == "federated" {
				continue // such a connection cannot sign in there
			}
			if strings.ContainsAny(c.name, "0123456789") && kind == "federated" {
				continue
			}
			t.Run(c.name+", "+kind, func(t *testing.T) {
				env, _ := ready(t)
				evil, alike := env.evil("evil.example"), env.evil("dev.azure.com.evil.example")
				connection := env.connection
				if kind == "secret" {
					connection = env.project.SecretConnection("release-secret", tenant, clientID, clientKey)
				}
				o := env.execute(c.forge(env, env.environ(env.stage, push(), connected("azureSubscription", connection))))
				if c.rules != "" {
					o.refusedBy(c.rules)
				} else if o.want("done"); !strings.Contains(fmt.Sprint(o.at("approval", "rules")), c.told) {
					t.Errorf("the run's own token is not reported as %s: %v", c.told, o.at("approval", "rules"))
				}
				if got := append(evil(), alike()...); len(got) != 0 {
					t.Errorf("the other host was asked: %v", got)
				}
			})
		}
	}
}

// oidc makes the server respond to the request for the run's own token with a
// status.
func (env *testEnv) oidc(environ []string, status int) []string {
	env.organization.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || r.URL.Query().Has("serviceConnectionId") {
			return false
		}
		rw.WriteHeader(status)
		return true
	})
	return environ
}
