package vet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/plain"
)

// The part of SARIF 2.1.0 (OASIS, Static Analysis Results Interchange Format) that a code host reads.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool              sarifTool         `json:"tool"`
		AutomationDetails sarifID           `json:"automationDetails"`
		Invocations       []sarifInvocation `json:"invocations"`
		ColumnKind        string            `json:"columnKind"`
		Results           []sarifResult     `json:"results"`
		Properties        map[string]any    `json:"properties,omitempty"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID                   string             `json:"id"`
		ShortDescription     sarifText          `json:"shortDescription"`
		HelpURI              string             `json:"helpUri"`
		Help                 sarifText          `json:"help"`
		DefaultConfiguration sarifConfiguration `json:"defaultConfiguration"`
	}
	sarifConfiguration struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifID struct {
		ID string `json:"id"`
	}
	sarifInvocation struct {
		ExecutionSuccessful bool `json:"executionSuccessful"`
	}
	sarifResult struct {
		RuleID              string            `json:"ruleId"`
		RuleIndex           int               `json:"ruleIndex"`
		Level               string            `json:"level"`
		Message             sarifText         `json:"message"`
		Locations           []sarifLocation   `json:"locations"`
		PartialFingerprints map[string]string `json:"partialFingerprints"`
		Properties          map[string]any    `json:"properties,omitempty"`
	}
	sarifLocation struct {
		PhysicalLocation sarifPhysicalLocation `json:"physicalLocation"`
	}
	sarifPhysicalLocation struct {
		ArtifactLocation sarifArtifactLocation `json:"artifactLocation"`
		Region           sarifRegion           `json:"region"`
	}
	sarifArtifactLocation struct {
		URI       string `json:"uri"`
		URIBaseID string `json:"uriBaseId"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
)

// fingerprint is the name of the fingerprint by which a finding is known again although its line has moved.
const fingerprint = "holdfastFinding/v1"

// SARIF writes the findings as SARIF 2.1.0, for the code hosts that show them on the line. version is that of the
// program.
func (r *Report) SARIF(w io.Writer, version string) error {
	run := sarifRun{
		Tool: sarifTool{Driver: sarifDriver{
			Name: "holdfast", Version: version, InformationURI: Docs,
		}},
		AutomationDetails: sarifID{ID: "holdfast-vet/"},
		Invocations:       []sarifInvocation{{ExecutionSuccessful: true}},
		ColumnKind:        "unicodeCodePoints",
		Results:           []sarifResult{},
	}
	if r.Kubernetes != "" {
		run.Properties = map[string]any{"kubernetes": r.Kubernetes}
	}
	for _, c := range codes {
		help := Docs + "#" + string(c.code)
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID: string(c.code), ShortDescription: sarifText{c.summary}, HelpURI: help,
			Help: sarifText{c.summary + " " + help}, DefaultConfiguration: sarifConfiguration{string(c.severity)},
		})
	}
	for i := range r.Findings {
		run.Results = append(run.Results, r.sarif(&r.Findings[i]))
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

func (r *Report) sarif(f *Finding) sarifResult {
	message := plain.Line(f.Message)
	if concern := r.concern(f); concern != "" {
		message += "\n" + concern
	}
	properties := map[string]any{}
	for name, list := range map[string][]string{"apps": f.Apps, "objects": f.Objects, "clusters": f.Clusters} {
		if len(list) > 0 {
			properties[name] = list
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(slices.Concat([]string{string(f.Code), f.File, f.Message}, f.Objects), "\x00")))
	return sarifResult{
		RuleID:    string(f.Code),
		RuleIndex: slices.IndexFunc(codes, func(c rule) bool { return c.code == f.Code }),
		Level:     string(f.Severity),
		Message:   sarifText{message},
		Locations: []sarifLocation{{sarifPhysicalLocation{
			ArtifactLocation: sarifArtifactLocation{URI: (&url.URL{Path: f.File}).EscapedPath(), URIBaseID: "%SRCROOT%"},
			Region:           sarifRegion{StartLine: max(f.Line, 1)}, // a host wants a line, of a whole file too
		}}},
		PartialFingerprints: map[string]string{fingerprint: hex.EncodeToString(sum[:16])},
		Properties:          properties,
	}
}
