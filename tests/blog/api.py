"""The same table over HTTP, as Django REST framework does it."""

from rest_framework import permissions, serializers, viewsets

from tests.blog.models import Person


class PersonSerializer(serializers.ModelSerializer):
    class Meta:
        model = Person
        fields = ["id", "name", "email", "status", "age"]


class PersonViewSet(viewsets.ModelViewSet):
    queryset = Person.objects.order_by("pk")
    serializer_class = PersonSerializer
    permission_classes = [permissions.AllowAny]
    authentication_classes = []
