from django.contrib import admin

from tests.blog.models import Person


@admin.register(Person)
class PersonAdmin(admin.ModelAdmin):
    list_display = ["name", "status"]
