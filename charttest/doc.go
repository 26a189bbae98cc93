// Package charttest lints, renders and installs the agent's Helm chart with Helm itself, as a library:
// no helm program is needed. It is a module of its own because Helm brings several hundred
// dependencies that the agent must not have.
//
// Lint and Render work on files alone; cmd/chartlint is their command. The package's tests hold the rendered
// objects to golden files, refuse bad values, and install the chart on a local cluster. There, no
// kubelet runs the image, so the test is the kubelet: it starts the agent's binary with the arguments, the
// environment, the mounted files and a token of the ServiceAccount of the pod that the StatefulSet really has.
package charttest
