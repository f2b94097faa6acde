package approval

import (
	"fmt"
	"strings"

	"acrpromote/internal/rule"
	"acrpromote/internal/sanitize"
)

// Claims are what a job says about its own run. They come from variables,
// which the author of the pipeline can set: none of them is believed before
// the server's records confirm it. Comments name the agent's variables.
type Claims struct {
	HostType  string // SYSTEM_HOSTTYPE
	ProjectID string // SYSTEM_TEAMPROJECTID
	PlanID    string // SYSTEM_PLANID

	// Of a YAML run.
	BuildID      int    // BUILD_BUILDID
	JobID        string // SYSTEM_JOBID
	StageID      string // SYSTEM_STAGEID, absent on older agents
	StageName    string // SYSTEM_STAGENAME
	StageAttempt int    // SYSTEM_STAGEATTEMPT

	// Of a classic release.
	ReleaseID       int    // RELEASE_RELEASEID
	EnvironmentID   int    // RELEASE_ENVIRONMENTID
	EnvironmentName string // RELEASE_ENVIRONMENTNAME
	ReleaseAttempt  int    // RELEASE_ATTEMPTNUMBER
	DeploymentID    int    // RELEASE_DEPLOYMENTID

	// RequesterIDs can only exclude more persons: BUILD_REQUESTEDFORID,
	// BUILD_QUEUEDBYID, BUILD_STAGEREQUESTEDBYID, BUILD_STAGEREQUESTEDFORID,
	// RELEASE_REQUESTEDFORID, RELEASE_DEPLOYMENT_REQUESTEDFORID.
	RequesterIDs []string
}

// Source returns what kind of run the job says it is part of; empty if the
// host type is neither kind. The host type alone decides: a release job also
// has the variables of a build, and any pipeline may set variables named
// RELEASE_*.
func (c Claims) Source() Source {
	switch {
	case strings.EqualFold(c.HostType, "build"):
		return YAML
	case strings.EqualFold(c.HostType, "release"), strings.EqualFold(c.HostType, "deployment"):
		return Release
	}
	return ""
}

// Requesters returns those who asked for the run, the stage or the deployment
// according to the agent.
func (c Claims) Requesters() []Requester {
	var list []Requester
	for _, id := range c.RequesterIDs {
		if id = GUID(id); id != "" {
			list = append(list, Requester{Person: Person{ID: id}, As: "asked for this run or stage, as the agent says"})
		}
	}
	return list
}

// JudgeClaims refuses a job that does not say which job of which run it is.
// With incomplete claims the server is not asked at all.
func JudgeClaims(c Claims) []rule.Refusal {
	type claim struct {
		variable string
		usable   bool
	}
	claims := []claim{
		{"SYSTEM_TEAMPROJECTID", GUID(c.ProjectID) != ""},
		{"SYSTEM_PLANID", GUID(c.PlanID) != ""},
	}
	switch c.Source() {
	case YAML:
		claims = append(claims,
			claim{"SYSTEM_JOBID", GUID(c.JobID) != ""},
			claim{"SYSTEM_STAGENAME", c.StageName != ""},
			claim{"SYSTEM_STAGEATTEMPT", c.StageAttempt > 0},
			claim{"BUILD_BUILDID", c.BuildID > 0})
	case Release:
		claims = append(claims,
			claim{"RELEASE_RELEASEID", c.ReleaseID > 0},
			claim{"RELEASE_ENVIRONMENTID", c.EnvironmentID > 0},
			claim{"RELEASE_ATTEMPTNUMBER", c.ReleaseAttempt > 0})
	default:
		return []rule.Refusal{mismatch("this job", "the agent says that this job is of the type %q, which is neither a YAML run nor a classic release", sanitize.Line(c.HostType))}
	}
	var missing []string
	for _, claim := range claims {
		if !claim.usable {
			missing = append(missing, claim.variable)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return []rule.Refusal{mismatch("this job", "the agent does not say, in a form that can be used: %s", strings.Join(missing, ", "))}
}

// mismatch refuses a job that is not what it claims to be.
func mismatch(subject, format string, args ...any) rule.Refusal {
	return rule.Refusal{
		Rule: rule.RunMismatch, Subject: subject, Reason: fmt.Sprintf(format, args...),
		Remedy: "Run this as a step of the job it belongs to, and let no variable of the pipeline pose as one of the agent's.",
	}
}

// contradiction refuses a record that contradicts itself, or lacks what every
// such record has.
func contradiction(subject, format string, args ...any) rule.Refusal {
	return rule.Refusal{
		Rule: rule.ApprovalUnreadable, Subject: subject, Reason: fmt.Sprintf(format, args...),
		Remedy: "Run the stage again; where it cannot be told which record is meant, nothing counts.",
	}
}
