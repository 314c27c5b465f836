from rest_framework.routers import SimpleRouter

from tests.blog.api import PersonViewSet

router = SimpleRouter()
router.register("people", PersonViewSet)
urlpatterns = router.urls
