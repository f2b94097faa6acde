package sim

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// Lease keeps a run longer than the settings of its project.
type Lease struct {
	DaysValid       int    `json:"daysValid"`
	DefinitionID    int    `json:"definitionId"`
	OwnerID         string `json:"ownerId"`
	ProtectPipeline bool   `json:"protectPipeline"`
	RunID           int    `json:"runId"`
}

// Leases lists the retention leases of a project's runs.
func (p *Project) Leases() []Lease {
	p.org.mu.Lock()
	defer p.org.mu.Unlock()
	return append([]Lease(nil), p.leases...)
}

// addLeases adds leases for runs (Build - Leases - Add, version 7.1). Every field of the
// published description is required here, and no other is accepted.
func (p *Project) addLeases(w http.ResponseWriter, r *http.Request) {
	invalid := func(why string) {
		restRefusal{http.StatusBadRequest, why, "Microsoft.VisualStudio.Services.Common.VssPropertyValidationException", 0}.write(w)
	}
	if p.refuse(w, RetentionLeases) {
		return
	}
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "application/json" || r.URL.Query().Get("api-version") == "" {
		invalid("No api-version was supplied for the POST request, or the content is not JSON.")
		return
	}
	var body []map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body) == 0 {
		invalid("The body is not a list of leases.")
		return
	}
	var added []Lease
	for _, one := range body {
		if found := deviations("NewRetentionLease", one); len(found) > 0 || len(one) != len(schema["NewRetentionLease"]) {
			invalid("A lease has other fields than those that are described: " + strings.Join(found, "; "))
			return
		}
		var lease Lease
		text, err := json.Marshal(one)
		if err == nil {
			err = json.Unmarshal(text, &lease)
		}
		p.org.mu.Lock()
		run := p.run(strconv.Itoa(lease.RunID))
		p.org.mu.Unlock()
		switch {
		case err != nil, lease.DaysValid < 1, lease.OwnerID == "":
			invalid("A lease needs days and an owner.")
			return
		case run == nil:
			noBuild(w, strconv.Itoa(lease.RunID))
			return
		case run.pipeline != lease.DefinitionID:
			invalid("The run is not one of this pipeline.")
			return
		}
		added = append(added, lease)
	}
	p.org.mu.Lock()
	first := len(p.leases) + 1
	p.leases = append(p.leases, added...)
	p.org.mu.Unlock()
	documents := []any{}
	for i, lease := range added {
		documents = append(documents, map[string]any{"leaseId": first + i, "runId": lease.RunID, "definitionId": lease.DefinitionID, "ownerId": lease.OwnerID, "protectPipeline": lease.ProtectPipeline})
	}
	writeJSON(w, http.StatusOK, map[string]any{"count": len(documents), "value": documents})
}
