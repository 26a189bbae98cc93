package charttest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	release "helm.sh/helm/v4/pkg/release/v1"
	"sigs.k8s.io/yaml"
)

// Namespace and ReleaseName are what Render and Lint pretend to install as.
const (
	Namespace   = "holdfast-system"
	ReleaseName = "holdfast"
)

// KubeVersion is what Render and Lint tell the templates, so that they do not depend on Helm's own version.
const KubeVersion = "v1.36.3"

// Values is one set of values for the chart.
type Values struct {
	// Name is the file's name without "-values.yaml".
	Name   string
	Values map[string]any
}

// CIValues reads the chart's example values, ci/*-values.yaml, sorted by name.
func CIValues(chart string) ([]Values, error) {
	const suffix = "-values.yaml"
	paths, err := filepath.Glob(filepath.Join(chart, "ci", "*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("list example values of chart %s: %w", chart, err)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("chart %s has no ci/*%s", chart, suffix)
	}
	slices.Sort(paths)
	all := make([]Values, 0, len(paths))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read example values: %w", err)
		}
		values := Values{Name: filepath.Base(path[:len(path)-len(suffix)]), Values: map[string]any{}}
		if err := yaml.UnmarshalStrict(data, &values.Values); err != nil {
			return nil, fmt.Errorf("decode %s: %w", path, err)
		}
		all = append(all, values)
	}
	return all, nil
}

// Lint is `helm lint --strict`: it returns everything Helm finds wrong with the chart under these values,
// warnings included.
func Lint(chart string, values map[string]any) error {
	lint := action.NewLint()
	lint.Strict = true
	lint.Namespace = Namespace
	version, err := common.ParseKubeVersion(KubeVersion)
	if err != nil {
		return fmt.Errorf("lint chart %s: %w", chart, err)
	}
	lint.KubeVersion = version
	result := lint.Run([]string{chart}, values)
	if err := errors.Join(result.Errors...); err != nil {
		return fmt.Errorf("lint chart %s: %w", chart, err)
	}
	return nil
}

// Render is `helm template`: it returns the chart's objects as YAML documents, sorted as Helm would create
// them, and the notes. No cluster is asked.
func Render(chart string, values map[string]any) (manifest, notes string, err error) {
	loaded, err := loader.Load(chart)
	if err != nil {
		return "", "", fmt.Errorf("load chart %s: %w", chart, err)
	}
	version, err := common.ParseKubeVersion(KubeVersion)
	if err != nil {
		return "", "", fmt.Errorf("render chart %s: %w", chart, err)
	}
	install := action.NewInstall(action.NewConfiguration())
	install.DryRunStrategy = action.DryRunClient
	install.ReleaseName = ReleaseName
	install.Namespace = Namespace
	install.KubeVersion = version
	releaser, err := install.Run(loaded, values)
	if err != nil {
		return "", "", fmt.Errorf("render chart %s: %w", chart, err)
	}
	rendered, ok := releaser.(*release.Release)
	if !ok {
		return "", "", fmt.Errorf("render chart %s: Helm returned a %T", chart, releaser)
	}
	return rendered.Manifest, rendered.Info.Notes, nil
}
