package httpapi

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// allow refuses methods other than those named.
func allow(h http.HandlerFunc, methods ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			fail(w, http.StatusMethodNotAllowed, "use "+methods[0])
			return
		}
		h(w, r)
	})
}

// fail answers with an error that says what to do.
func fail(w http.ResponseWriter, code int, message string) {
	answer(w, code, map[string]string{"error": message})
}

// answer writes JSON. Every answer is of this moment only, so none may be cached.
func answer(w http.ResponseWriter, code int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		code, body = http.StatusInternalServerError, []byte(`{"error":"the answer could not be encoded"}`)
	}
	header(w, "application/json")
	w.WriteHeader(code)
	// The client may be gone; there is nobody to tell.
	_, _ = w.Write(append(body, '\n'))
}

func text(w http.ResponseWriter, code int, body string) {
	header(w, "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(body))
}

func header(w http.ResponseWriter, contentType string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}
