package written

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// TestOrNoKind: a cluster without the CRD answers like one without the object.
func TestOrNoKind(t *testing.T) {
	object := apierrors.NewNotFound(nadKind.GroupResource(), "n")
	assert.Equal(t, object, orNoKind(object))
	kind := apierrors.NewGenericServerResponse(http.StatusNotFound, "GET", nadKind.GroupResource(), "n", "404 page not found", 0, true)
	assert.EqualError(t, orNoKind(kind), "this cluster does not know this kind: install Multibond, or deploy/crd.yaml alone")
}
