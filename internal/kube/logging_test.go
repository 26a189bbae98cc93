package kube

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
)

func TestLibrariesLogToOurSink(t *testing.T) {
	var out bytes.Buffer
	LogTo(zerolog.New(&out))
	t.Cleanup(klog.ClearLogger)
	klog.Background().Info("from a library", "key", "value")
	utilruntime.HandleErrorWithContext(context.Background(), errors.New("broken"), "In the background")
	for _, want := range []string{`"component":"client-go"`, `"message":"from a library"`, `"key":"value"`, `"error":"broken"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is not in\n%s", want, out.String())
		}
	}
}

func TestWarningsAreLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	w := newWarnings(zerolog.New(&out))
	for range 3 {
		w.HandleWarningHeaderWithContext(context.Background(), 299, "", "v1beta1 is deprecated")
	}
	w.HandleWarningHeaderWithContext(context.Background(), 199, "", "for machines")
	if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), "v1beta1 is deprecated") {
		t.Errorf("logged %d lines:\n%s", n, out.String())
	}
}
